"""The condition tree: read from YAML data, checked against the types of AWS's answers, bounded in size and depth.

Field: value                      equals (null: absent)
Field: {operator: argument, …}    all of them hold; an argument may be {var: parameter}
and/or: [condition, …]   not: condition          several keys in one mapping: and
any_of/all_of/none_of: List, where: condition    over a list's elements; `this` is an element that is no structure
exists: {type: T, key: {TheirField: OurField}, where: condition}    some resource of type T
related: {type: T, key: {TheirField: OurField}, where: condition}   the one with that key; unknown if there is none
reachable_from_internet, denies_plain_http, protocol_covers, port_covers: see `functions`
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from coreo_shared.rules.arguments import Argument, Parameter, read_argument
from coreo_shared.rules.errors import DefinitionError, Path, did_you_mean
from coreo_shared.rules.functions import FUNCTIONS
from coreo_shared.rules.operators import OPERATORS
from coreo_shared.rules.paths import THIS, FieldPath, parse_path, resolve
from coreo_shared.rules.shapes import FieldType, Shapes
from coreo_shared.rules.signatures import FunctionArgument, Reference

MAX_DEPTH = 16
MAX_NODES = 400
MAX_LOOPS = 5  # quantifiers and relations within each other
Read = tuple[str, tuple[str, ...]]  # resource type, names of the fields that lead to what is read


@dataclass(frozen=True, slots=True)
class Lookup:
    """A look at those of another type's items alone that have as `their_field` what an item has at `path`.

    The item is the one that is judged or, with `source`, one of that type which the rule looks at itself.
    """

    source: str | None
    resource_type: str
    their_field: str
    path: FieldPath
    same_region: bool


@dataclass(frozen=True, slots=True)
class Test:
    """One operator on one field."""

    path: FieldPath
    operator: str
    argument: Argument


@dataclass(frozen=True, slots=True)
class Both:
    """All parts hold."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Either:
    """Some part holds."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Opposite:
    """The part does not hold."""

    part: "Node"


@dataclass(frozen=True, slots=True)
class Each:
    """A quantifier over a list. `cost`: the steps of one element."""

    kind: Literal["any_of", "all_of", "none_of"]
    path: FieldPath
    where: "Node"
    cost: int


@dataclass(frozen=True, slots=True)
class Related:
    """Another resource: some (`exists`) or the one with that key (`related`)."""

    kind: Literal["exists", "related"]
    resource_type: str
    their_field: str | None
    our_path: FieldPath | None
    same_region: bool
    where: "Node | None"
    cost: int


@dataclass(frozen=True, slots=True)
class Apply:
    """A function of several fields and values."""

    function: str
    arguments: Mapping[str, FieldPath | Argument]


Node = Test | Both | Either | Opposite | Each | Related | Apply
_KEYWORDS = ("and", "or", "not", "any_of", "all_of", "none_of", "where", "exists", "related", *FUNCTIONS)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the data a condition looks: the type there, and how to get there from a resource type."""

    type: FieldType
    resource_type: str
    names: tuple[str, ...] = ()
    loops: int = 0
    source: str | None = None  # the type of the other resource that it is within
    path: FieldPath | None = THIS  # from the judged item, or the other resource; None where that cannot be written
    is_looked_up: bool = False


class ConditionParser:
    """Reads the conditions of one rule; `reads` and `relations` collect what they look at.

    What is read only of items that are looked up by key is in `looked_up`; `compared` are the types of which all items
    are looked at. `patterns` are the parameters that must be regular expressions.
    """

    def __init__(
        self, shapes: Shapes, resource_types: Mapping[str, FieldType], parameters: Mapping[str, Parameter]
    ) -> None:
        self._shapes = shapes
        self._resource_types = resource_types
        self._parameters = parameters
        self._nodes = 0
        self.reads: set[Read] = set()
        self.relations: set[str] = set()
        self.compared: set[str] = set()
        self.lookups: set[Lookup] = set()
        self.looked_up: set[Read] = set()
        self.patterns: set[str] = set()

    def parse(self, raw: Any, resource_type: str, path: Path) -> Node:
        """A condition on items of the resource type."""
        return self._condition(raw, Place(self._resource_types[resource_type], resource_type), path, depth=0)

    def field(self, text: str, place: Place, path: Path) -> tuple[FieldPath, FieldType]:
        """A field path and its type; notes that it is read."""
        field_path, field_type = resolve(self._shapes, place.type, parse_path(text, path), path)
        if names := place.names + field_path.names:
            (self.looked_up if place.is_looked_up else self.reads).add((place.resource_type, names))
        return field_path, field_type

    def _condition(self, raw: Any, place: Place, path: Path, *, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise DefinitionError(f"conditions nested deeper than {MAX_DEPTH}", path)
        if not isinstance(raw, dict) or not raw:
            raise DefinitionError("must be a condition such as {Field: {operator: value}}", path)
        parts: list[Node] = []
        for key, value in raw.items():
            if key == "where":
                continue
            self._count(path)
            parts.append(self._part(key, value, raw, place, path, depth))
        if "where" in raw and not {"any_of", "all_of", "none_of"} & raw.keys():
            raise DefinitionError("where without any_of, all_of or none_of", (*path, "where"))
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _count(self, path: Path) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise DefinitionError(f"more than {MAX_NODES} conditions in one rule", path)

    def _part(self, key: str, value: Any, raw: dict[str, Any], place: Place, path: Path, depth: int) -> Node:
        if key in {"and", "or"}:
            parts = self._conditions(value, place, (*path, key), depth)
            return Both(parts) if key == "and" else Either(parts)
        if key == "not":
            return Opposite(self._condition(value, place, (*path, key), depth=depth + 1))
        if key in {"any_of", "all_of", "none_of"}:
            return self._each(key, value, raw, place, path, depth)
        if key in {"exists", "related"}:
            return self._related(key, value, place, (*path, key), depth)
        if key in FUNCTIONS:
            return self._apply(key, value, place, (*path, key))
        return self._test(key, value, place, path)

    def _conditions(self, raw: Any, place: Place, path: Path, depth: int) -> tuple[Node, ...]:
        if not isinstance(raw, list) or not raw:
            raise DefinitionError("must be a list of conditions", path)
        return tuple(self._condition(part, place, (*path, index), depth=depth + 1) for index, part in enumerate(raw))

    def _where(self, raw: Any, place: Place, path: Path, depth: int) -> Node:
        """The condition on elements; a list of conditions is an `and`."""
        if isinstance(raw, list):
            parts = self._conditions(raw, place, path, depth)
            return parts[0] if len(parts) == 1 else Both(parts)
        return self._condition(raw, place, path, depth=depth + 1)

    def _inside(self, place: Place, path: Path) -> int:
        if place.loops == MAX_LOOPS:
            raise DefinitionError(f"more than {MAX_LOOPS} lists or relations within each other", path)
        return place.loops + 1

    def _each(self, key: Any, value: Any, raw: dict[str, Any], place: Place, path: Path, depth: int) -> Node:
        if set(raw) != {key, "where"}:
            raise DefinitionError(f"{key} stands alone with its where; join other conditions by and/or", path)
        list_path, list_type = self.field(_text(value, (*path, key)), place, (*path, key))
        if list_type.kind != "list":
            raise DefinitionError(f"needs a list, and this is {list_type}", (*path, key))
        element = Place(
            self._shapes.type_of(list_type.of),
            place.resource_type,
            place.names + list_path.names,
            self._inside(place, path),
            place.source,
            _elements_of(place.path, list_path),
            place.is_looked_up,
        )
        before = self._nodes
        where = self._where(raw["where"], element, (*path, "where"), depth)
        return Each(key, list_path, where, cost=1 + self._nodes - before)

    def _related(self, kind: Any, raw: Any, place: Place, path: Path, depth: int) -> Node:
        if not isinstance(raw, dict) or not {"type"} <= raw.keys() <= {"type", "key", "same_region", "where"}:
            raise DefinitionError("must have type, and may have key, same_region and where", path)
        if not isinstance(raw.get("same_region", False), bool):
            raise DefinitionError("must be true or false", (*path, "same_region"))
        other = _text(raw["type"], (*path, "type"))
        if other not in self._resource_types:
            problem = f"no such resource type{did_you_mean(other, self._resource_types)}"
            raise DefinitionError(problem, (*path, "type"))
        there = Place(self._resource_types[other], other, loops=self._inside(place, path), source=other)
        their_field, our_path = self._key(raw.get("key"), place, there, (*path, "key"))
        if self._looks_up(other, their_field, our_path, place, same_region=raw.get("same_region", False)):
            there = replace(there, is_looked_up=True)
        if kind == "related" and (their_field is None or "where" not in raw):
            raise DefinitionError("related needs key and where", path)
        before = self._nodes
        where = self._where(raw["where"], there, (*path, "where"), depth) if "where" in raw else None
        cost = 1 + self._nodes - before
        return Related(kind, other, their_field, our_path, raw.get("same_region", False), where, cost)

    def _looks_up(
        self, other: str, their_field: str | None, our_path: FieldPath | None, place: Place, *, same_region: bool
    ) -> bool:
        """Notes the relation; whether items are looked up by it, rather than compared with all there are."""
        self.relations.add(other)
        theirs = self._resource_types.get(other)
        is_fetched = theirs is not None and their_field is not None and self._shapes.is_fetched(theirs, their_field)
        if their_field is None or our_path is None or place.path is None or is_fetched:
            self.compared.add(other)
            return False
        self.lookups.add(Lookup(place.source, other, their_field, place.path.then(our_path), same_region))
        return True

    def _key(self, raw: Any, ours: Place, theirs: Place, path: Path) -> tuple[str | None, FieldPath | None]:
        if raw is None:
            return None, None
        if not isinstance(raw, dict) or len(raw) != 1:
            raise DefinitionError("must be one pair, TheirField: OurField", path)
        [(their_text, our_text)] = raw.items()
        their_path, their_type = self.field(their_text, theirs, path)
        our_path, our_type = self.field(_text(our_text, path), ours, path)
        if len(their_path.names) != 1 or their_type.kind not in {"string", "integer"}:
            raise DefinitionError("their side must be a top-level field, a string or an integer", path)
        if our_type.kind != their_type.kind:
            raise DefinitionError(f"the two sides differ: {their_type} and {our_type}", path)
        return their_path.root, our_path

    def _apply(self, name: str, raw: Any, place: Place, path: Path) -> Node:
        function = FUNCTIONS[name]
        if not isinstance(raw, dict):
            raise DefinitionError(f"must have {', '.join(function.arguments)}", path)
        for key in raw:
            if key not in function.arguments:
                raise DefinitionError(
                    f"takes {', '.join(function.arguments)} only{did_you_mean(key, function.arguments)}", path
                )
        arguments: dict[str, FieldPath | Argument] = {}
        for key, wanted in function.arguments.items():
            if key in raw:
                arguments[key] = self._function_argument(wanted, raw[key], place, (*path, key))
            elif not wanted.optional:
                raise DefinitionError(f"{key} is missing", path)
        if len(function.alternatives & raw.keys()) > 1:
            raise DefinitionError(f"takes only one of {', '.join(sorted(function.alternatives))}", path)
        relations = [function.relations, *(function.arguments[key].relations for key in raw)]
        for other, names in (pair for each in relations for pair in each.items()):
            self.relations.add(other)
            self.compared.add(other)
            self.reads.update((other, (field_name,)) for field_name in names)
        for key, reference in function.references.items():
            self._refer(reference, arguments[key], place, (*path, key))
        return Apply(name, arguments)

    def _refer(self, reference: Reference, given: FieldPath | Argument, place: Place, path: Path) -> None:
        """Notes what the function looks up by the values in a field."""
        if not isinstance(given, FieldPath):
            raise DefinitionError("must be a field", path)
        ours = given.then(parse_path(reference.ours, path), each=True)
        is_lookup = self._looks_up(reference.resource_type, reference.theirs, ours, place, same_region=True)
        reads = ((reference.resource_type, (name,)) for name in reference.reads)
        (self.looked_up if is_lookup else self.reads).update(reads)

    def _function_argument(self, wanted: FunctionArgument, raw: Any, place: Place, path: Path) -> FieldPath | Argument:
        if wanted.value is not None:
            of = FieldType("string", "string", values=wanted.choices)
            wanted.check_value(raw, path)
            return read_argument(wanted.value, raw, of, self._shapes, self._parameters, path)
        field_path, field_type = self.field(_text(raw, path), place, path)
        wanted.check(self._shapes, field_type, path)
        if wanted.members:
            self.reads.update((place.resource_type, place.names + field_path.names + (m,)) for m in wanted.members)
        return field_path

    def _test(self, key: str, raw: Any, place: Place, path: Path) -> Node:
        try:
            field_path, field_type = self.field(key, place, path)
        except DefinitionError as error:
            if key.islower() and (hint := did_you_mean(key, _KEYWORDS)):
                raise DefinitionError(f"no keyword of this name{hint}", path) from None
            raise DefinitionError(error.problem, path) from None
        here = (*path, key)
        if not isinstance(raw, dict):
            raw = {"absent": True} if raw is None else {"equals": raw}
        if not raw:
            raise DefinitionError("must have an operator", here)
        tests: list[Node] = [
            self._operator(field_path, field_type, operator, argument, here) for operator, argument in raw.items()
        ]
        return tests[0] if len(tests) == 1 else Both(tuple(tests))

    def _operator(self, path: FieldPath, of: FieldType, name: str, raw: Any, here: Path) -> Test:
        self._count(here)
        operator = OPERATORS.get(name)
        if operator is None:
            raise DefinitionError(f"no such operator{did_you_mean(name, OPERATORS)}", here)
        if of.kind not in operator.kinds:
            fit = ", ".join(other for other, candidate in OPERATORS.items() if of.kind in candidate.kinds)
            raise DefinitionError(f"{name} does not fit {of}; these do: {fit}", here)
        argument = read_argument(operator.argument, raw, of, self._shapes, self._parameters, (*here, name))
        if operator.argument == "pattern" and argument.variable is not None:
            self.patterns.add(argument.variable)
        return Test(path, name, argument)


def _elements_of(place: FieldPath | None, path: FieldPath) -> FieldPath | None:
    """The way from the item to each element of a list; None where it cannot be written."""
    return None if place is None or not path.names else place.then(path.then(THIS, each=True))


def _text(raw: Any, path: Path) -> str:
    if not isinstance(raw, str):
        raise DefinitionError("must be text", path)
    return raw

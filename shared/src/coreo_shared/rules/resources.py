"""Resource types from their definitions: each item's type is what the API lists plus the enrichments."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from coreo_shared.rules.conditions import ConditionParser, Node
from coreo_shared.rules.errors import DefinitionError, Path, did_you_mean
from coreo_shared.rules.model import (
    Call,
    CallDefinition,
    Enrichment,
    EnrichmentDefinition,
    ListDefinition,
    Preparation,
    ResourceType,
    ResourceTypeDefinition,
)
from coreo_shared.rules.paths import FieldPath, parse_path, type_at
from coreo_shared.rules.shapes import FieldType, Operation, Shapes
from coreo_shared.rules.templates import CONTEXT, Template, parse_template

_SINGLETON = {"AccountId": "string", "Region": "string"}
_SCALARS = frozenset({"string", "integer", "number", "boolean"})
# Where the SDK calls a service otherwise than IAM does.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
ACTION_PREFIXES = {
    "accessanalyzer": "access-analyzer",
    "amp": "aps",
    "apigatewayv2": "apigateway",
    "bedrock-agent": "bedrock",
    "cloudhsmv2": "cloudhsm",
    "docdb": "rds",
    "efs": "elasticfilesystem",
    "elb": "elasticloadbalancing",
    "elbv2": "elasticloadbalancing",
    "emr": "elasticmapreduce",
    "keyspaces": "cassandra",
    "lexv2-models": "lex",
    "mwaa": "airflow",
    "neptune": "rds",
    "opensearch": "es",
    "s3control": "s3",
    "sesv2": "ses",
    "sso-admin": "sso",
    "stepfunctions": "states",
    "timestream-write": "timestream",
}


def _listed(name: str) -> str:
    """The structure of a type's items as listed, without what enrichments add."""
    return f"{name} as listed"


def _fields_in(given: Any) -> Iterator[FieldPath]:
    """The field paths that a parameter reads."""
    if isinstance(given, Template):
        yield from given.fields
    elif isinstance(given, list | dict):
        for part in given.values() if isinstance(given, dict) else given:
            yield from _fields_in(part)


def define_resource_type(definition: ResourceTypeDefinition, shapes: Shapes, path: Path) -> ResourceType:
    """The resource type; `shapes` gets the structure of its items under the type's name."""
    return _Builder(definition, shapes, path).build()


@dataclass(frozen=True, slots=True)
class _Builder:
    definition: ResourceTypeDefinition
    shapes: Shapes
    path: Path

    def build(self) -> ResourceType:
        definition = self.definition
        list_call, items = self._list(definition.listing) if definition.listing else (None, None)
        if definition.listing is None:
            self.shapes.define(definition.type, _SINGLETON)
        for index, text in enumerate(definition.policies):
            names = parse_path(text, (*self.path, "policies", index)).names
            self._put(names, "policy", (*self.path, "policies", index))
        self.shapes.define(_listed(definition.type), self.shapes.members(definition.type))
        for name, enrichment in definition.enrich.items():
            prefix = () if enrichment.each is None else (enrichment.each,)
            self._put((*prefix, name), self._taken(name, enrichment), (*self.path, "enrich", name), is_new=True)
        enrichments = {name: self._enrichment(name, enrichment) for name, enrichment in definition.enrich.items()}
        return ResourceType(
            name=definition.type,
            title=definition.title,
            service=definition.service,
            scope=definition.scope,
            listing=list_call,
            items=items,
            scalar=definition.listing.scalar if definition.listing else None,
            parent=definition.listing.for_each if definition.listing else None,
            asked_in=definition.asked_in,
            key=definition.key,
            id_template=self._key_template(definition.key.id, "id"),
            arn_template=None if definition.key.arn is None else self._key_template(definition.key.arn, "arn"),
            enrichments=enrichments,
            key_enrichments=frozenset(self._checked_regions()) & enrichments.keys(),
        )

    @property
    def _item_type(self) -> FieldType:
        return self.shapes.type_of(self.definition.type)

    def _list(self, definition: ListDefinition) -> tuple[Call, FieldPath]:
        path = (*self.path, "list")
        parent = self._parent(definition, (*path, "for_each"))
        call, operation = self._call(definition, parent, path)
        items = parse_path(definition.items, (*path, "items"))
        of = type_at(self.shapes, self.shapes.type_of(operation.output), items, (*path, "items"))
        element = self.shapes.type_of(of.of) if of.kind == "list" and any(items.spread) else None
        if element is None:
            raise DefinitionError("must lead to structures or scalars, with [] after the list", (*path, "items"))
        if definition.page_size is not None and not call.paginated:
            raise DefinitionError("the operation has no pages", (*path, "page_size"))
        members = self._members_of(element, definition.scalar, (*path, "items"))
        if parent is not None:
            members = {**members, "Parent": parent.reference}
        self.shapes.define(self.definition.type, members)
        return call, items

    def _parent(self, definition: ListDefinition, path: Path) -> FieldType | None:
        """The listed fields of the type for each of whose items the listing is made."""
        if definition.for_each is None:
            return None
        try:
            return self.shapes.type_of(_listed(definition.for_each))
        except KeyError:
            raise DefinitionError("no such resource type, or one that is listed for each of this one", path) from None

    def _members_of(self, element: FieldType, scalar: str | None, path: Path) -> Mapping[str, str]:
        if scalar is None and element.kind == "structure":
            return self.shapes.members(element.name)
        if scalar is None:
            raise DefinitionError("must lead to structures, or say with `as` what field a scalar becomes", path)
        if element.kind not in _SCALARS:
            raise DefinitionError("for a list of texts or numbers, and for no other", (*path[:-1], "as"))
        return {scalar: element.reference}

    def _put(self, names: tuple[str, ...], reference: str, path: Path, *, is_new: bool = False) -> None:
        """Gives the member at `names` this type, in copies of the structures on the way to it."""
        owner = self.definition.type
        for name in names[:-1]:
            members = self.shapes.members(owner)
            if name not in members:
                raise DefinitionError(f"{owner} has no such field{did_you_mean(name, members)}", path)
            is_list = members[name].startswith("[")
            base, copy = members[name].strip("[]"), f"{owner}.{name}"
            if base != copy:
                if self.shapes.type_of(base).kind != "structure":
                    raise DefinitionError("this is no structure and no list of them", path)
                self.shapes.define(copy, self.shapes.members(base))
                self.shapes.define(owner, {**members, name: f"[{copy}]" if is_list else copy})
            owner = copy
        members = self.shapes.members(owner)
        if (names[-1] in members) is is_new:
            problem = "there is a field of this name" if is_new else f"no such field{did_you_mean(names[-1], members)}"
            raise DefinitionError(problem, path)
        self.shapes.define(owner, {**members, names[-1]: reference})
        if is_new:
            self.shapes.mark_fetched(owner, names[-1])

    def _taken(self, name: str, definition: EnrichmentDefinition) -> str:
        """The type reference of what an enrichment puts into the item."""
        path = (*self.path, "enrich", name)
        operation = self._operation(definition, path)
        answer = self.shapes.type_of(operation.output)
        if definition.take is not None:
            take = parse_path(definition.take, (*path, "take"))
            answer = type_at(self.shapes, answer, take, (*path, "take"))
        if definition.scalar is not None or definition.csv is not None:
            return self._rows(name, definition, answer, path)
        if definition.holds is None:
            return answer.reference
        if answer.kind != "string":
            raise DefinitionError(f"a policy is text, and this is {answer}", (*path, "holds"))
        return definition.holds

    def _rows(self, name: str, definition: EnrichmentDefinition, answer: FieldType, path: Path) -> str:
        """A list of structures made of scalars, or of the lines of a CSV text."""
        if definition.csv is not None:
            if answer.kind not in {"blob", "string"}:
                raise DefinitionError(f"CSV is text, and this is {answer}", (*path, "csv"))
            members: Mapping[str, str] = dict.fromkeys(definition.csv, "string")
        else:
            if answer.kind != "list":
                raise DefinitionError(f"needs a list, and this is {answer}", (*path, "as"))
            members = self._members_of(self.shapes.type_of(answer.of), definition.scalar, (*path, "take"))
        row = f"{self.definition.type}.{name}"
        self.shapes.define(row, members)
        return f"[{row}]"

    def _preparation(self, definition: EnrichmentDefinition, path: Path) -> Preparation | None:
        given = definition.prepare
        if given is None:
            return None
        made = CallDefinition(operation=given.operation, service=definition.service)
        return Preparation(self._call(made, None, path)[0], frozenset(given.on))

    def _enrichment(self, name: str, definition: EnrichmentDefinition) -> Enrichment:
        path = (*self.path, "enrich", name)
        owner = self._item_type
        if definition.each is not None:
            owner = self.shapes.type_of(self.shapes.member(owner, definition.each, (*path, "each")).of)
        call, _ = self._call(definition, owner, path)
        when, when_roots = self._when(definition, owner, (*path, "when"))
        roots = when_roots | {field.root for _, given in call.params for field in _fields_in(given)}
        if definition.each is not None:
            roots = frozenset({definition.each})  # its parameters are the element's own fields
        return Enrichment(
            name=name,
            call=call,
            take=None if definition.take is None else parse_path(definition.take, (*path, "take")),
            when=when,
            each=definition.each,
            after=frozenset(roots & self.definition.enrich.keys()),
            scalar=definition.scalar,
            columns=tuple(definition.csv or ()),
            prepare=self._preparation(definition, (*path, "prepare")),
        )

    def _when(
        self, definition: EnrichmentDefinition, owner: FieldType, path: Path
    ) -> tuple[Node | None, frozenset[str]]:
        if definition.when is None:
            return None, frozenset()
        parser = ConditionParser(self.shapes, {self.definition.type: owner}, {})
        node = parser.parse(definition.when, self.definition.type, path)
        if parser.relations:
            raise DefinitionError("may look at the item alone", path)
        return node, frozenset(names[0] for _, names in parser.reads)

    def _operation(self, definition: CallDefinition, path: Path) -> Operation:
        service = definition.service or self.definition.service
        return self.shapes.operation(service, definition.operation, (*path, "operation"))

    def _call(self, definition: CallDefinition, owner: FieldType | None, path: Path) -> tuple[Call, Operation]:
        service = definition.service or self.definition.service
        operation = self._operation(definition, path)
        for name in operation.required:
            if name not in definition.params:
                raise DefinitionError(f"{operation.api} needs the parameter {name}", (*path, "params"))
        params = tuple(
            (name, self._param(name, raw, operation, owner, (*path, "params", name)))
            for name, raw in definition.params.items()
        )
        prefix = ACTION_PREFIXES.get(service, service)
        call = Call(
            service=service,
            operation=definition.operation,
            params=params,
            actions=(f"{prefix}:{operation.api}",) if definition.iam is None else tuple(definition.iam),
            paginated=operation.paginated,
            page_size=definition.page_size if isinstance(definition, ListDefinition) else None,
            absent_on=frozenset(definition.absent_on),
        )
        return call, operation

    def _param(self, name: str, raw: Any, operation: Operation, owner: FieldType | None, path: Path) -> Any:
        if name not in operation.input:
            raise DefinitionError(f"{operation.api} has no such parameter{did_you_mean(name, operation.input)}", path)
        return self._argument(raw, owner, path)

    def _argument(self, raw: Any, owner: FieldType | None, path: Path) -> Any:
        """A parameter's value, or a part of it: its texts become templates."""
        if isinstance(raw, list):
            return [self._argument(part, owner, (*path, index)) for index, part in enumerate(raw)]
        if isinstance(raw, dict):
            return {name: self._argument(part, owner, (*path, name)) for name, part in raw.items()}
        if not isinstance(raw, str):
            return raw
        template = parse_template(raw, path, context=True)
        for field in template.fields:
            if owner is None:
                raise DefinitionError("a list call has no item to take fields from", path)
            self._check(owner, field, path)
        return template

    def _check(self, owner: FieldType, field: FieldPath, path: Path) -> None:
        """DefinitionError where the item has no such field; it may have been meant as a word of the context."""
        try:
            type_at(self.shapes, owner, field, path)
        except DefinitionError as error:
            raise DefinitionError(error.problem + did_you_mean(field.root, CONTEXT), error.path) from None

    def _key_template(self, text: str, name: str) -> Template:
        path = (*self.path, "key", name)
        template = parse_template(text, path, context=True)
        for field in template.fields:
            self._check(self._item_type, field, path)
        return template

    def _checked_regions(self) -> Iterable[str]:
        for index, name in enumerate(self.definition.key.region):
            self.shapes.member(self._item_type, name, (*self.path, "key", "region", index))
            yield name


def order_enrichments(resource_type: ResourceType, wanted: Iterable[str]) -> tuple[str, ...]:
    """These enrichments and those they need, each after what it needs; DefinitionError when they go in a circle."""
    ordered: list[str] = []
    _visit(resource_type.enrichments, sorted(wanted), ordered, ())
    return tuple(ordered)


def _visit(
    enrichments: Mapping[str, Enrichment], names: Iterable[str], ordered: list[str], under_way: tuple[str, ...]
) -> None:
    for name in names:
        if name in under_way:
            raise DefinitionError("needs itself, by way of others", ("enrich", name))
        if name not in ordered:
            _visit(enrichments, sorted(enrichments[name].after), ordered, (*under_way, name))
            ordered.append(name)

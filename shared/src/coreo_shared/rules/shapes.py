"""Types of what AWS answers: a compact snapshot of the SDK's own output shapes, so that a typo is an error at load.

A type is written as a reference: `string`, `integer`, `number`, `boolean`, `timestamp`, `blob`, `policy` (an IAM policy
document), `[T]` for a list, `{T}` or `{K:T}` for a map (K: the enum of its keys), else the name of a structure
(`ec2.IpPermission`) or of an enum.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from coreo_shared.rules.errors import DefinitionError, Path, did_you_mean

Kind = Literal["string", "integer", "number", "boolean", "timestamp", "blob", "policy", "list", "map", "structure"]
_SCALARS: frozenset[str] = frozenset({"string", "integer", "number", "boolean", "timestamp", "blob", "policy"})


class Operation(msgspec.Struct, frozen=True):
    """An operation of the SDK: its API name, its parameters and the types of both sides."""

    api: str  # DescribeSecurityGroups
    output: str  # a structure
    input: dict[str, str] = {}
    required: list[str] = []
    paginated: bool = False


class Snapshot(msgspec.Struct, frozen=True):
    """`shapes/`, a file per service: operations by `service.operation_name`, structures and enums by `service.Name`."""

    operations: dict[str, Operation]
    structures: dict[str, dict[str, str]]
    enums: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class FieldType:
    """A type and the reference that means it.

    `of` refers to a list's or map's element, `name` to a structure, `values` are an enum's.
    """

    kind: Kind
    reference: str = ""
    of: str = ""
    name: str = ""
    values: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return {"structure": "a structure", "integer": "an integer"}.get(self.kind, f"a {self.kind}")


class Shapes:
    """Looks types up; the catalogue adds its own structures (resource types with their enrichments)."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.operations: Mapping[str, Operation] = snapshot.operations
        self._structures = dict(snapshot.structures)
        self._fetched: set[tuple[str, str]] = set()
        self._enums = {name: frozenset(values) for name, values in snapshot.enums.items()}
        self._types: dict[str, FieldType] = {}

    def define(self, name: str, members: Mapping[str, str]) -> None:
        """Adds a structure."""
        self._structures[name] = dict(members)

    def mark_fetched(self, structure: str, member: str) -> None:
        """Notes that a member takes a call of its own: where it is missing it was not read, which is not "none"."""
        self._fetched.add((structure, member))

    def is_fetched(self, owner: FieldType, member: str) -> bool:
        """Whether a member takes a call of its own."""
        return (owner.name, member) in self._fetched

    def members(self, name: str) -> Mapping[str, str]:
        """Member names and type references of a structure."""
        return self._structures[name]

    def type_of(self, reference: str) -> FieldType:
        """The type that a reference means."""
        found = self._types.get(reference)
        if found is None:
            found = self._types[reference] = self._parse(reference)
        return found

    def _parse(self, reference: str) -> FieldType:
        if reference in _SCALARS:
            return FieldType(reference, reference)  # type: ignore[arg-type]  # one of _SCALARS
        if reference.startswith("["):
            return FieldType("list", reference, of=reference[1:-1])
        if reference.startswith("{"):
            keys, _, of = reference[1:-1].rpartition(":")
            return FieldType("map", reference, of=of, values=self._enums[keys] if keys else frozenset())
        if reference in self._enums:
            return FieldType("string", reference, values=self._enums[reference])
        if reference in self._structures:
            return FieldType("structure", reference, name=reference)
        raise KeyError(reference)

    def member(self, owner: FieldType, name: str, path: Path) -> FieldType:
        """The type of `name` within `owner`; DefinitionError when there is no such member."""
        if owner.kind == "map":
            if owner.values and name not in owner.values:
                raise DefinitionError(f"no such key in the map{did_you_mean(name, owner.values)}", path)
            return self.type_of(owner.of)
        if owner.kind == "list":
            raise DefinitionError("this is a list: write Name[] for all its elements, or use any_of", path)
        if owner.kind != "structure":
            raise DefinitionError(f"{owner} has no fields", path)
        members = self._structures[owner.name]
        if name not in members:
            raise DefinitionError(f"{owner.name} has no such field{did_you_mean(name, members)}", path)
        return self.type_of(members[name])

    def operation(self, service: str, name: str, path: Path) -> Operation:
        """An operation of the snapshot; DefinitionError when it is not there."""
        found = self.operations.get(f"{service}.{name}")
        if found is None:
            known: Iterable[str] = (key.partition(".")[2] for key in self.operations if key.startswith(service + "."))
            problem = f"the snapshot has no such operation of {service}{did_you_mean(name, known)}"
            raise DefinitionError(problem + " (a new operation: write the snapshot anew)", path)
        return found


def load_snapshot(files: Iterable[bytes]) -> Snapshot:
    """The snapshot from the JSON of each service."""
    whole = Snapshot({}, {}, {})
    for data in files:
        part = msgspec.json.decode(data, type=Snapshot)
        whole.operations.update(part.operations)
        whole.structures.update(part.structures)
        whole.enums.update(part.enums)
    return whole

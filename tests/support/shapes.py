"""Writes the catalogue's `shapes/` and `regions.json` from botocore's models: `python -m tests.support.shapes`.

Only the operations that the resource types name are taken, with all shapes that their outputs reach.
"""

import json
from pathlib import Path
from typing import Any

import botocore.session
from botocore import xform_name
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

import coreo_shared.catalogue as catalogue_package
from coreo_shared.catalogue import read_resource_documents
from coreo_shared.rules.model import EnrichmentDefinition
from coreo_worker.aws.pages import pagination

FOLDER = Path(catalogue_package.__file__).parent
MAX_ENUM = 80  # longer ones (instance types, regions) grow with every release of the SDK and say little
PARTITION_HOMES = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
_SCALARS = {
    "character": "string",
    "string": "string",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "boolean": "boolean",
    "timestamp": "timestamp",
    "blob": "blob",
}


class SnapshotWriter:
    """Collects operations and the shapes that they reach."""

    def __init__(self) -> None:
        self._session = botocore.session.get_session()
        self.operations: dict[str, Any] = {}
        self.structures: dict[str, Any] = {}
        self.enums: dict[str, list[str]] = {}

    def add(self, service: str, operation: str) -> None:
        """Takes an operation, named as the SDK's client names it."""
        model = self._session.get_service_model(service)
        api = next(name for name in model.operation_names if xform_name(name) == operation)
        found = model.operation_model(api)
        members = found.input_shape.members if found.input_shape else {}
        self.operations[f"{service}.{operation}"] = {
            "api": api,
            "output": self._reference(service, found.output_shape),
            "input": {name: shape.type_name for name, shape in members.items()},
            "required": list(found.input_shape.required_members) if found.input_shape else [],
            "paginated": pagination(service, operation) is not None,
        }

    def _reference(self, service: str, shape: Shape | None) -> str:
        if isinstance(shape, ListShape):
            return f"[{self._reference(service, shape.member)}]"
        if isinstance(shape, MapShape):
            keys = self._reference(service, shape.key)
            of = self._reference(service, shape.value)
            return f"{{{of}}}" if keys == "string" else f"{{{keys}:{of}}}"
        if isinstance(shape, StructureShape):
            return self._structure(service, shape)
        if isinstance(shape, StringShape) and 0 < len(shape.enum) <= MAX_ENUM:
            name = f"{service}.{shape.name}"
            self.enums[name] = sorted(shape.enum)
            return name
        assert shape is not None
        return _SCALARS[shape.type_name]

    def _structure(self, service: str, shape: StructureShape) -> str:
        name = f"{service}.{shape.name}"
        if name not in self.structures:
            self.structures[name] = {}
            self.structures[name] = {member: self._reference(service, of) for member, of in shape.members.items()}
        return name

    def texts(self) -> dict[str, str]:
        """The snapshot as JSON by service, one line for each operation, structure and enum."""
        parts = {"operations": self.operations, "structures": self.structures, "enums": self.enums}
        services = sorted({name.partition(".")[0] for name in self.operations})
        return {service: _file_of(service, parts) for service in services}


def _lines(entries: dict[str, Any]) -> str:
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(entries[name])}" for name in sorted(entries)) + "\n}"


def _file_of(service: str, parts: dict[str, dict[str, Any]]) -> str:
    own = {
        kind: {name: value for name, value in part.items() if name.startswith(f"{service}.")}
        for kind, part in parts.items()
    }
    return "{" + ",\n".join(f'"{kind}": {_lines(part)}' for kind, part in own.items()) + "}\n"


def shapes_texts() -> dict[str, str]:
    """What the files in `shapes/` should hold, by service."""
    writer = SnapshotWriter()
    for definition in read_resource_documents().values():
        calls = [call for call in (definition.listing, *definition.enrich.values()) if call is not None]
        for call in calls:
            service = call.service or definition.service
            writer.add(service, call.operation)
            if isinstance(call, EnrichmentDefinition) and call.prepare is not None:
                writer.add(service, call.prepare.operation)
    return writer.texts()


def regions_text() -> str:
    """What `regions.json` should hold."""
    session = botocore.session.get_session()
    return _lines({name: _partition(session, name, home) for name, home in PARTITION_HOMES.items()}) + "\n"


def _partition(session: botocore.session.Session, name: str, home: str) -> dict[str, Any]:
    regions = sorted(session.get_available_regions("ec2", name))
    services = {each.service for each in read_resource_documents().values() if each.scope == "region"}
    offered = {service: set(session.get_available_regions(service, name)) for service in sorted(services)}
    # Of some services the SDK knows no regions: they are asked everywhere.
    without = {service: [each for each in regions if each not in known] for service, known in offered.items() if known}
    return {"home": home, "regions": regions, "not_offered": {name: each for name, each in without.items() if each}}


def write() -> None:
    """Writes all of them, and takes away what no resource type needs any more."""
    texts = shapes_texts()
    for file in (FOLDER / "shapes").glob("*.json"):
        if file.stem not in texts:
            file.unlink()
    (FOLDER / "shapes").mkdir(exist_ok=True)
    for service, text in texts.items():
        (FOLDER / "shapes" / f"{service}.json").write_text(text, encoding="utf-8")
    (FOLDER / "regions.json").write_text(regions_text(), encoding="utf-8")


if __name__ == "__main__":
    write()

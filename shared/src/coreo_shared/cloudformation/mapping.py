"""What a template's resource types are to audit rules: data in `catalogue/cloudformation/`, a file per resource type.

A file says from which property a field comes that rules read, and what AWS makes of a property that is not there. A
field of which it says nothing is unknown, and so is a property that is not there unless `absent` says what that means.

    type: aws.ec2.volume                    # whose rules judge it
    cloudformation: AWS::EC2::Volume
    names: VolumeId                         # the field that Ref of the resource gives
    fields:
      VolumeId: {}                          # told by nothing in the template
      Encrypted: {from: Encrypted, absent: false}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from coreo_shared.catalogue import load_catalogue
from coreo_shared.rules.cases import read_value
from coreo_shared.rules.definitions import convert, read_document
from coreo_shared.rules.errors import DefinitionError, did_you_mean
from coreo_shared.rules.errors import Path as Place
from coreo_shared.rules.shapes import FieldType, Shapes

_FOLDER: Final = Path(__file__).parents[1] / "catalogue" / "cloudformation"


class AttachedDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Other resources of the template that belong to this one: their `by` refers to it."""

    type: str
    by: str


class SourceDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a field's value comes from. Without `from` and `always`, and without `fields`, it is unknown.

    `from`: the path of a property; with `fields` the structure is made of the property's own ones, with `each` that is
    done for each element (`from: this` is an element that is no structure). `wrap`: the value, where there is one,
    becomes a list of one structure with this field, and those of `beside` with these values. `values`: what a value
    means, by its text; `present`: what it
    means that there is one. `absent`: what it means that there is none, `unless` one of these properties is there.
    `attached`: `from` is a property of these other resources; with `each` they are as many elements, after those of
    `also`, a property of the resource's own. `grows`: each element can only make things worse, so that those which are
    told whole may decide against the resource, whatever the others are.
    """

    path: str | None = msgspec.field(default=None, name="from")
    always: Any = msgspec.UNSET
    present: Any = msgspec.UNSET
    absent: Any = msgspec.UNSET
    unless: list[str] = []
    values: dict[str, Any] | None = None
    fields: dict[str, "SourceDefinition"] | None = None
    each: dict[str, "SourceDefinition"] | None = None
    wrap: str | None = None
    beside: dict[str, Any] = {}
    attached: AttachedDefinition | None = None
    also: str | None = None
    grows: bool = False


class MappingDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file. `attributes`: what Fn::GetAtt gives, with {partition}, {region}, {account} and {ref}."""

    type: str
    cloudformation: str
    names: str | None = None
    attributes: dict[str, str] = {}
    fields: dict[str, SourceDefinition]


@dataclass(frozen=True, slots=True)
class TypeMapping:
    """A checked file, with the type of the items that it makes."""

    definition: MappingDefinition
    item: FieldType

    @property
    def resource_type(self) -> str:
        """Whose rules judge it."""
        return self.definition.type

    @property
    def cloudformation(self) -> str:
        """The template's type."""
        return self.definition.cloudformation


@cache
def load_mappings() -> Mapping[str, TypeMapping]:
    """By CloudFormation type. Raises DefinitionError with file and line."""
    found: dict[str, TypeMapping] = {}
    for file in sorted(_FOLDER.glob("*.yaml")):
        made = read_document(file.read_text(encoding="utf-8"), file.name, read_mapping)
        if file.name != f"{made.resource_type}.yaml":
            raise DefinitionError(f"the file must be named {made.resource_type}.yaml", ("type",), file=file.name)
        if made.cloudformation in found:
            raise DefinitionError("another file maps this type", ("cloudformation",), file=file.name)
        found[made.cloudformation] = made
    return found


def read_mapping(raw: Any) -> TypeMapping:
    """The checked mapping: each field is one that AWS's own shapes have. Raises DefinitionError."""
    definition = convert(raw, MappingDefinition, ())
    catalogue = load_catalogue()
    if definition.type not in catalogue.resource_types:
        known = did_you_mean(definition.type, catalogue.resource_types)
        raise DefinitionError(f"no such resource type{known}", ("type",))
    item = catalogue.shapes.type_of(definition.type)
    if definition.names is not None:
        catalogue.shapes.member(item, definition.names, ("names",))
    _check_fields(definition.fields, item, catalogue.shapes, ("fields",))
    return TypeMapping(definition, item)


def _check_fields(fields: Mapping[str, SourceDefinition], owner: FieldType, shapes: Shapes, path: Place) -> None:
    for name, source in fields.items():
        place = (*path, name)
        _check_source(source, shapes.member(owner, name, place), shapes, place)


def _check_source(source: SourceDefinition, of: FieldType, shapes: Shapes, place: Place) -> None:
    if source.fields is not None:
        if of.kind not in {"structure", "map"}:
            raise DefinitionError(f"`fields` make a structure, and this is {of}", place)
        _check_fields(source.fields, of, shapes, (*place, "fields"))
    if source.each is not None:
        element = shapes.type_of(of.of) if of.kind == "list" else of
        if of.kind != "list" or element.kind != "structure":
            raise DefinitionError(f"`each` makes a list of structures, and this is {of}", place)
        _check_fields(source.each, element, shapes, (*place, "each"))
    if source.wrap is not None:
        if of.kind != "list":
            raise DefinitionError(f"`wrap` makes a list, and this is {of}", place)
        element = shapes.type_of(of.of)
        shapes.member(element, source.wrap, (*place, "wrap"))
        for name, value in source.beside.items():
            read_value(value, shapes.member(element, name, (*place, "beside", name)), shapes, place)
    for given in (source.always, source.present, source.absent, *(source.values or {}).values()):
        if given is not msgspec.UNSET:
            read_value(given, of, shapes, place)
    if source.attached is not None and source.path is None and source.each is None:
        raise DefinitionError("needs `from` or `each`: what of the other resources is meant", (*place, "attached"))

"""The resources of a template as audit rules see them: items with the fields that AWS would answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from coreo_shared.catalogue import load_catalogue
from coreo_shared.cloudformation.mapping import SourceDefinition, TypeMapping, load_mappings
from coreo_shared.cloudformation.properties import as_answered, property_at, text_of, unknowns_in
from coreo_shared.cloudformation.resolving import NO_VALUE, Place, Resolver
from coreo_shared.rules.shapes import FieldType, Shapes
from coreo_shared.rules.values import Unknown

_MAX_NAMES: Final = 20  # that hang on each other, one after the other
_NOT_TOLD: Final = Unknown("a template does not tell it")


@dataclass(frozen=True, slots=True)
class TemplateResource:
    """A resource of the template. `item` has every field of its type; what the template does not tell is Unknown.

    `told`: the same with those elements alone that the template tells whole, where that is not all of them: what fails
    so fails. `uncertain`: why it may not be made at all.
    """

    logical_id: str
    cloudformation: str
    resource_type: str
    item: Mapping[str, Any]
    told: Mapping[str, Any] | None = None
    uncertain: Unknown | None = None


@dataclass
class TemplateItems:
    """Reads a template's resources. `unmapped`: the types among them that no rule can judge."""

    template: Mapping[str, Any]
    place: Place
    parameters: Mapping[str, str]
    unmapped: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._mappings = load_mappings()
        self._shapes = load_catalogue().shapes
        self._resolver = Resolver(self.template, self.place, self.parameters, self._named)
        self._naming: set[str] = set()
        # Each is made once: others refer to it, and what they refer to may refer to more.
        self._names: dict[str, Any] = {}
        self._properties_of: dict[str, Any] = {}
        self._resources: dict[str, Mapping[str, Any]] = {
            name: resource
            for name, resource in self.template["Resources"].items()
            if isinstance(resource, Mapping) and isinstance(resource.get("Type"), str)
        }

    def read(self) -> Iterator[TemplateResource]:
        """Those that some rules can judge, in the template's order."""
        for logical_id, resource in self._resources.items():
            mapping = self._mappings.get(resource["Type"])
            if mapping is None:
                self.unmapped.add(resource["Type"])
                continue
            is_made = self._is_made(resource)
            if is_made is False:
                continue
            whole = self._item(mapping, logical_id, resource)
            item, told = _split(mapping, whole)
            uncertain = is_made if isinstance(is_made, Unknown) else None
            yield TemplateResource(logical_id, mapping.cloudformation, mapping.resource_type, item, told, uncertain)

    def _is_made(self, resource: Mapping[str, Any]) -> Any:
        name = resource.get("Condition")
        return True if name is None else self._resolver.condition(str(name))

    def _properties(self, logical_id: str) -> Any:
        if logical_id not in self._properties_of:
            given = self._resources[logical_id].get("Properties") or {}
            self._properties_of[logical_id] = self._resolver.resolve(given)
        return self._properties_of[logical_id]

    def _named(self, logical_id: str, attribute: str | None) -> Any:
        """The name that a property gives a resource, and the attributes that follow from it."""
        resource = self._resources.get(logical_id)
        mapping = None if resource is None else self._mappings.get(resource["Type"])
        if mapping is None or resource is None or logical_id in self._naming:
            return None
        ref = self._name_of(mapping, logical_id, resource)
        if attribute is None or isinstance(ref, Unknown):
            return ref
        known = mapping.definition.attributes.get(attribute)
        where = self.place
        return known and known.format(partition=where.partition, region=where.region, account=where.account_id, ref=ref)

    def _name_of(self, mapping: TypeMapping, logical_id: str, resource: Mapping[str, Any]) -> Any:
        if logical_id in self._names:
            return self._names[logical_id]
        if len(self._naming) >= _MAX_NAMES:
            return Unknown("too many names of the template hang on each other")
        self._naming.add(logical_id)
        try:
            self._names[logical_id] = self._ref(mapping, logical_id, resource)
        finally:
            self._naming.discard(logical_id)
        return self._names[logical_id]

    def _ref(self, mapping: TypeMapping, logical_id: str, resource: Mapping[str, Any]) -> Any:
        names = mapping.definition.names
        source = None if names is None else mapping.definition.fields.get(names)
        if source is None or source.path is None:
            return f"<{logical_id}>"
        properties = resource.get("Properties")
        given = properties.get(source.path, NO_VALUE) if isinstance(properties, Mapping) else NO_VALUE
        found = self._resolver.resolve(given)
        return f"<{logical_id}>" if found is NO_VALUE else found

    def _item(self, mapping: TypeMapping, logical_id: str, resource: Mapping[str, Any]) -> dict[str, Any]:
        properties = self._properties(logical_id)
        made = _Making(self, logical_id)
        fields, members = mapping.definition.fields, self._shapes.members(mapping.item.name)
        told = made.structure(fields, mapping.item, properties, self._shapes)
        item: dict[str, Any] = dict.fromkeys(members, told) if isinstance(told, Unknown) else told
        names = mapping.definition.names
        if names is not None:
            item[names] = self._ref(mapping, logical_id, resource)
        return item

    def attached(self, logical_id: str, kind: str, by: str) -> Iterator[Any]:
        """The properties of the other resources of a type whose `by` refers to this one; Unknown where that may be."""
        mine = self._named(logical_id, None)
        for other, resource in self._resources.items():
            if resource["Type"] != kind or (is_made := self._is_made(resource)) is False:
                continue
            properties = self._properties(other)
            refers = properties.get(by) if isinstance(properties, Mapping) else properties
            told = self._named(logical_id, "Arn")
            # One that is attached by what cannot be resolved may be attached to this one.
            if any(isinstance(one, Unknown) for one in (refers, is_made)):
                yield refers if isinstance(refers, Unknown) else is_made
            elif refers in (mine, told, f"<{logical_id}.GroupId>") or (isinstance(refers, list) and mine in refers):
                yield properties


class _OpenMap(dict[str, Any]):
    """A map of which the template tells some keys: the others are unknown, not absent."""

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ARG002  as a dict's
        """As a dict's; never the default."""
        return super().get(key, _NOT_TOLD)


@dataclass(frozen=True, slots=True)
class _Making:
    """Makes the fields of one resource's item."""

    items: TemplateItems
    logical_id: str

    def structure(self, fields: Mapping[str, SourceDefinition], of: FieldType, given: Any, shapes: Shapes) -> Any:
        """Every member of the structure; those without a source are unknown."""
        if isinstance(given, Unknown):
            return given
        if not isinstance(given, Mapping):
            return Unknown("the template has another kind of value there than CloudFormation takes")
        if of.kind == "map":
            made = {name: self._field(source, shapes.type_of(of.of), given, shapes) for name, source in fields.items()}
            return _OpenMap(made)
        return {
            name: self._field(fields[name], shapes.type_of(reference), given, shapes) if name in fields else _NOT_TOLD
            for name, reference in shapes.members(of.name).items()
        }

    def _field(self, source: SourceDefinition, of: FieldType, given: Mapping[str, Any], shapes: Shapes) -> Any:
        if source.always is not msgspec.UNSET:
            return source.always
        if source.attached is not None:
            return self._from_attached(source, of, given, shapes)
        if source.path is None:
            return _NOT_TOLD if source.fields is None else self.structure(source.fields, of, given, shapes)
        found = property_at(given, source.path)
        if found is NO_VALUE and any(name in given for name in source.unless):
            return _NOT_TOLD
        return self._made(source, of, found, shapes)

    def _made(self, source: SourceDefinition, of: FieldType, found: Any, shapes: Shapes) -> Any:  # noqa: PLR0911
        """The field's value from what its property is."""
        if found is NO_VALUE:
            return _NOT_TOLD if source.absent is msgspec.UNSET else source.absent
        if isinstance(found, Unknown):
            return [found] if source.wrap is not None else found
        if source.present is not msgspec.UNSET:
            return source.present
        if source.values is not None:
            return source.values.get(text_of(found), _NOT_TOLD) if isinstance(found, str | bool | int) else _NOT_TOLD
        if source.fields is not None:
            return self.structure(source.fields, of, found, shapes)
        if source.each is not None:
            return self._list(source.each, of, found, shapes)
        if source.wrap is not None:
            inner = shapes.type_of(shapes.members(shapes.type_of(of.of).name)[source.wrap])
            return [{source.wrap: as_answered(found, inner, shapes), **source.beside}]
        return as_answered(found, of, shapes)

    def _list(self, fields: Mapping[str, SourceDefinition], of: FieldType, found: Any, shapes: Shapes) -> Any:
        elements = found if isinstance(found, list) else [found]  # CloudFormation takes one for a list of one
        element = shapes.type_of(of.of)
        scalars = (str, int, float, bool)
        given = [{"this": one} if isinstance(one, scalars) else one for one in elements]
        return [self.structure(fields, element, one, shapes) for one in given]

    def _from_attached(self, source: SourceDefinition, of: FieldType, given: Mapping[str, Any], shapes: Shapes) -> Any:
        assert source.attached is not None  # noqa: S101  the caller has looked
        others = list(self.items.attached(self.logical_id, source.attached.type, source.attached.by))
        if source.each is not None:
            own = NO_VALUE if source.also is None else property_at(given, source.also)
            if isinstance(own, Unknown):
                return own
            elements = [] if own is NO_VALUE else own if isinstance(own, list) else [own]
            return self._list(source.each, of, [*elements, *others], shapes)
        if len(others) > 1:
            return Unknown("several resources of the template say it")
        found = next(iter(others), NO_VALUE)
        if isinstance(found, Mapping):
            found = property_at(found, source.path or "")
        return self._made(source, of, found, shapes)


def _split(mapping: TypeMapping, item: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The item with its growing lists unknown as a whole where a part is, and with the elements that are told alone."""
    told: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, source in mapping.definition.fields.items():
        if source.grows and isinstance(item[name], list):
            missing = next((one for element in item[name] for one in _asked_unknowns(source, element)), None)
            if missing is not None:
                unknown[name] = missing
                told[name] = [element for element in item[name] if next(_asked_unknowns(source, element), None) is None]
    return item | unknown, item | told if told else None


def _asked_unknowns(source: SourceDefinition, element: Any) -> Iterator[Unknown]:
    """What is unknown of an element, among the fields that the mapping speaks of."""
    if isinstance(element, Unknown):
        yield element
    else:
        yield from unknowns_in({name: element[name] for name in source.each or {}})

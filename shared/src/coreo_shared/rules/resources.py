"""Resource types from their definitions: each item's type is what the API lists plus the enrichments."""

from collections.abc import Iterable, Mapping
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
    ResourceType,
    ResourceTypeDefinition,
)
from coreo_shared.rules.paths import FieldPath, parse_path, type_at
from coreo_shared.rules.shapes import FieldType, Operation, Shapes
from coreo_shared.rules.templates import Template, parse_template

_SINGLETON = {"AccountId": "string", "Region": "string"}


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
        call, operation = self._call(definition, None, path)
        items = parse_path(definition.items, (*path, "items"))
        of = type_at(self.shapes, self.shapes.type_of(operation.output), items, (*path, "items"))
        element = self.shapes.type_of(of.of) if of.kind == "list" and any(items.spread) else None
        if element is None or element.kind != "structure":
            raise DefinitionError("must lead to structures, with [] after the list", (*path, "items"))
        if definition.page_size is not None and not call.paginated:
            raise DefinitionError("the operation has no pages", (*path, "page_size"))
        self.shapes.define(self.definition.type, self.shapes.members(element.name))
        return call, items

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
        if definition.holds is None:
            return answer.reference
        if answer.kind != "string":
            raise DefinitionError(f"a policy is text, and this is {answer}", (*path, "holds"))
        return definition.holds

    def _enrichment(self, name: str, definition: EnrichmentDefinition) -> Enrichment:
        path = (*self.path, "enrich", name)
        owner = self._item_type
        if definition.each is not None:
            owner = self.shapes.type_of(self.shapes.member(owner, definition.each, (*path, "each")).of)
        call, _ = self._call(definition, owner, path)
        when, when_roots = self._when(definition, owner, (*path, "when"))
        roots = when_roots | {
            field.root for _, part in call.params if isinstance(part, Template) for field in part.fields
        }
        if definition.each is not None:
            roots = frozenset({definition.each})  # its parameters are the element's own fields
        return Enrichment(
            name=name,
            call=call,
            take=None if definition.take is None else parse_path(definition.take, (*path, "take")),
            absent_on=frozenset(definition.absent_on),
            when=when,
            each=definition.each,
            after=frozenset(roots & self.definition.enrich.keys()),
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
        actions = (f"{service}:{operation.api}",) if definition.iam is None else tuple(definition.iam)
        page_size = definition.page_size if isinstance(definition, ListDefinition) else None
        return Call(service, definition.operation, params, actions, operation.paginated, page_size), operation

    def _param(self, name: str, raw: Any, operation: Operation, owner: FieldType | None, path: Path) -> Template | Any:
        if name not in operation.input:
            raise DefinitionError(f"{operation.api} has no such parameter{did_you_mean(name, operation.input)}", path)
        if not isinstance(raw, str):
            return raw
        template = parse_template(raw, path, context=True)
        for field in template.fields:
            if owner is None:
                raise DefinitionError("a list call has no item to take fields from", path)
            type_at(self.shapes, owner, field, path)
        return template

    def _key_template(self, text: str, name: str) -> Template:
        path = (*self.path, "key", name)
        template = parse_template(text, path, context=True)
        for field in template.fields:
            type_at(self.shapes, self._item_type, field, path)
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

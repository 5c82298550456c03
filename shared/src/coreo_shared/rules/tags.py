"""Where a resource's tags are among what a rule has read anyway: they go with its evidence, and cost no call.

By them people find who owns a resource, and suppressions by tag know what they fit.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from coreo_shared.rules.shapes import FieldType, Shapes

TAG_FIELDS: Final = frozenset({"Tags", "tags", "TagList", "TagSet"})


def tag_paths(shapes: Shapes, item: FieldType, roots: Iterable[str]) -> Iterator[str]:
    """Paths to tags in an item: those that its listing gives, and those of the enrichments `roots` that are read."""
    for name, reference in shapes.members(item.name).items():
        if name in TAG_FIELDS and not shapes.is_fetched(item, name) and _holds_tags(shapes, reference):
            yield name
    for root in sorted(roots):
        if shapes.is_fetched(item, root):
            found = shapes.type_of(shapes.members(item.name)[root])
            spread = "[]" if found.kind == "list" else ""
            inner = shapes.type_of(found.of) if spread else found
            members: Mapping[str, str] = shapes.members(inner.name) if inner.kind == "structure" else {}
            for name, reference in members.items():
                if name in TAG_FIELDS and _holds_tags(shapes, reference):
                    of_all = "[]" if spread and shapes.type_of(reference).kind == "list" else ""
                    yield f"{root}{spread}.{name}{of_all}"


def _holds_tags(shapes: Shapes, reference: str) -> bool:
    found = shapes.type_of(reference)
    if found.kind == "map":
        return shapes.type_of(found.of).kind == "string"
    if found.kind != "list":
        return False
    element = shapes.type_of(found.of)
    return element.kind == "structure" and bool({"Key", "key"} & shapes.members(element.name).keys())


def tags_in(evidence: Any) -> dict[str, str]:
    """The tags in a finding's evidence: lists of Key and Value, or mappings, under paths that end in a tag field."""
    found: dict[str, str] = {}
    for path, value in evidence.items() if isinstance(evidence, dict) else ():
        if path.rpartition(".")[2].removesuffix("[]") in TAG_FIELDS:
            found.update(_pairs(value))
    return found


def _pairs(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        yield from ((name, text) for name, text in value.items() if isinstance(text, str))
    for each in value if isinstance(value, list) else ():
        if isinstance(each, dict):
            name, text = each.get("Key", each.get("key")), each.get("Value", each.get("value"))
            if isinstance(name, str) and isinstance(text, str):
                yield name, text
            elif name is None:
                yield from _pairs(each)

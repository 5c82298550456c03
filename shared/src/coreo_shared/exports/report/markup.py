"""HTML that is escaped unless it was made here: the names of resources are what strangers chose."""

from collections.abc import Iterable
from html import escape


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


def element(tag: str, *children: str | None, **attributes: str | float | bool | None) -> Html:
    """`<tag …>children</tag>`. Children that are no Html are escaped, None is left out; `class_` is `class`."""
    return Html(f"<{tag}{_attributes(attributes)}>{joined(children)}</{tag}>")


def empty(tag: str, **attributes: str | float | bool | None) -> Html:
    """An element that holds nothing and has no end, such as input."""
    return Html(f"<{tag}{_attributes(attributes)}>")


def joined(children: Iterable[str | None]) -> Html:
    """The children one after the other."""
    return Html("".join(child if isinstance(child, Html) else escape(_clean(child)) for child in children if child))


def _attributes(attributes: dict[str, str | float | bool | None]) -> str:
    written = []
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        key = name.rstrip("_").replace("_", "-")
        written.append(f" {key}" if value is True else f' {key}="{escape(_clean(str(value)))}"')
    return "".join(written)


def _clean(text: str) -> str:
    """Without what HTML forbids, and without marks that turn the direction of the text after them."""
    return (
        "".join("\N{REPLACEMENT CHARACTER}" if _is_odd(each) else each for each in text)
        if not text.isprintable()
        else text
    )


def _is_odd(character: str) -> bool:
    return not character.isprintable() and character not in "\n\t \u00a0\u3000"

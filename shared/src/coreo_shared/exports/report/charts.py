"""Charts as SVG in the page. Colours come from the style sheet by class; each chart also says its numbers in words."""

from collections.abc import Sequence
from math import pi
from typing import Final

from coreo_shared.exports.report.markup import Html, element, joined

Share = tuple[str, int, str]  # name, number, class

_RADIUS: Final = 54.0
_AROUND: Final = 2 * pi * _RADIUS
_BAR: Final = 14
_STEP: Final = 26
_LABEL: Final = 150
_LENGTH: Final = 230
_WIDTH: Final = 440


def donut(title: str, shares: Sequence[Share], middle: str, below: str) -> Html:
    """Shares of a whole, with the number that matters in the middle."""
    total = sum(number for _, number, _ in shares)
    arcs: list[Html] = [element("circle", cx=70, cy=70, r=_RADIUS, class_="arc none")]
    start = 0.0
    for name, number, kind in shares:
        if not number:
            continue
        length = _AROUND * number / total
        arcs.append(
            element(
                "circle",
                element("title", f"{name}: {number:,}"),
                cx=70,
                cy=70,
                r=_RADIUS,
                class_=f"arc {kind}",
                stroke_dasharray=f"{length:.2f} {_AROUND - length:.2f}",
                stroke_dashoffset=f"{-start:.2f}",
                transform="rotate(-90 70 70)",
            )
        )
        start += length
    words = [
        element("text", middle, x=70, y=72, class_="middle"),
        element("text", below, x=70, y=90, class_="below"),
    ]
    picture = element("svg", *arcs, *words, viewBox="0 0 140 140", role="img", aria_label=_words(title, shares))
    legend = element(
        "ul",
        *(
            element("li", element("span", class_=f"dot {kind}"), f"{name} ", element("b", f"{number:,}"))
            for name, number, kind in shares
        ),
        class_="legend",
    )
    return element("figure", element("figcaption", title), element("div", picture, legend, class_="donut"))


def bars(title: str, shares: Sequence[Share], *, most: int = 10) -> Html:
    """Numbers beside each other, at most so many bars; what is left is told in words."""
    shown = shares[:most]
    longest = max((number for _, number, _ in shown), default=0)
    rows: list[Html] = []
    for index, (name, number, kind) in enumerate(shown):
        y = index * _STEP
        length = 0.0 if not longest else max(2.0 if number else 0.0, _LENGTH * number / longest)
        rows.append(
            joined(
                (
                    element("text", _short(name), x=_LABEL - 8, y=y + 15, class_="label"),
                    element(
                        "rect", "", x=_LABEL, y=y + 4, width=f"{length:.1f}", height=_BAR, rx=3, class_=f"bar {kind}"
                    ),
                    element("text", f"{number:,}", x=f"{_LABEL + length + 6:.1f}", y=y + 15, class_="number"),
                )
            )
        )
    if not shown:
        return element("figure", element("figcaption", title), element("p", "Nothing failed.", class_="quiet"))
    height = len(shown) * _STEP
    picture = element("svg", *rows, viewBox=f"0 0 {_WIDTH} {height}", role="img", aria_label=_words(title, shown))
    rest = len(shares) - len(shown)
    more = element("p", f"and {rest} more", class_="quiet") if rest else None
    return element("figure", element("figcaption", title), picture, more)


def gauge(share: float | None) -> Html:
    """A line for a share of one; empty where it is not known."""
    length = 0.0 if share is None else 100 * share
    return element(
        "svg",
        element("rect", x=0, y=0, width=100, height=6, class_="track"),
        element("rect", x=0, y=0, width=f"{length:.1f}", height=6, class_="share"),
        viewBox="0 0 100 6",
        preserveAspectRatio="none",
        class_="gauge",
        aria_hidden="true",
    )


def _words(title: str, shares: Sequence[Share]) -> str:
    return f"{title}: {', '.join(f'{name} {number:,}' for name, number, _ in shares)}"


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:21]}…"

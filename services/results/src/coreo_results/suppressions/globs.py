"""Patterns in which `*` stands for any text. Matched in linear time: no pattern makes a text expensive. Pure."""


class Glob:
    """A pattern. Only `*` means something; case counts."""

    __slots__ = ("_first", "_last", "_middle", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        first, *rest = pattern.split("*")
        self._first = first
        self._last = rest.pop() if rest else None  # None: there is no `*`
        self._middle = [part for part in rest if part]

    @property
    def is_exact(self) -> bool:
        """Whether the pattern fits itself alone."""
        return self._last is None

    def fits(self, text: str) -> bool:
        """Whether the whole text is as the pattern says.

        Each part is looked for once, from where the one before it ended: if the parts are there in any way, they are
        there in this one.
        """
        if self._last is None:
            return text == self._first
        place, end = len(self._first), len(text) - len(self._last)
        if place > end or not text.startswith(self._first) or not text.endswith(self._last):
            return False
        for part in self._middle:
            found = text.find(part, place, end)
            if found < 0:
                return False
            place = found + len(part)
        return True

"""What IAM answers (query protocol, XML): read without any of what XML can do to who reads it.

A document type declaration is refused where it begins, so that there are no entities to expand or to fetch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

MAX_ANSWER_BYTES: Final = 256 * 1024  # a policy has 6,144 characters at most (IAM quotas), URL-encoded three times that
_MAX_DEPTH: Final = 24
_OK: Final = 200


class UnreadableAnswerError(Exception):
    """Not an answer of IAM. The text repeats nothing of it."""


@dataclass(frozen=True)
class Answer:
    """An answer. `code` is None when it worked, "" where an error has none.

    `values`: the texts of the elements without children, by path below the root, as `GetRoleResult/Role/Arn`; of
    several with one path, the first.
    """

    status: int
    code: str | None
    message: str = field(default="", repr=False)
    values: Mapping[str, str] = field(default_factory=dict, repr=False)


def parse_answer(status: int, body: bytes) -> Answer:
    """The answer that has this HTTP status. Raises UnreadableAnswerError where a good one is no XML."""
    try:
        root, values = _read(body)
    except UnreadableAnswerError:
        if status == _OK:
            raise
        return Answer(status, "")
    if status == _OK and root.endswith("Response") and root != "ErrorResponse":
        return Answer(status, None, values=values)
    return Answer(status, values.get("Error/Code", ""), values.get("Error/Message", ""))


def _read(body: bytes) -> tuple[str, dict[str, str]]:
    """The root's name and the texts below it."""
    if len(body) > MAX_ANSWER_BYTES:
        raise UnreadableAnswerError("the answer is too long")
    leaves = _Leaves()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = leaves.refuse
    parser.StartElementHandler = leaves.start
    parser.EndElementHandler = leaves.end
    parser.CharacterDataHandler = leaves.text
    try:
        parser.Parse(body, True)  # noqa: FBT003  it takes this by position alone
    except (expat.ExpatError, ValueError):
        raise UnreadableAnswerError("the answer is no XML") from None
    return leaves.root, leaves.values


class _Leaves:
    """Collects the texts as the parser comes by them."""

    def __init__(self) -> None:
        self.root = ""
        self.values: dict[str, str] = {}
        self._path: list[str] = []
        self._texts: list[str] = []
        self._is_leaf = False

    def refuse(self, *_: object) -> None:
        raise UnreadableAnswerError("the answer has a document type declaration")

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        if len(self._path) >= _MAX_DEPTH:
            raise UnreadableAnswerError("the answer is nested too deeply")
        self.root = self.root or name
        self._path.append(name)
        self._texts, self._is_leaf = [], True

    def text(self, data: str) -> None:
        self._texts.append(data)

    def end(self, _name: str) -> None:
        if self._is_leaf:
            self.values.setdefault("/".join(self._path[1:]), "".join(self._texts))
        self._path.pop()
        self._texts, self._is_leaf = [], False

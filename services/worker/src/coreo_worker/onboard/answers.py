"""IAM's answers (query protocol, version 2010-05-08), read without trust: small, and without entities of their own."""

from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

MAX_ANSWER_BYTES: Final = 512 * 1024


@dataclass(frozen=True)
class Answer:
    """An HTTP answer of IAM. `code` is AWS's error code; None for a success."""

    status: int
    code: str | None = None
    message: str = ""
    fields: tuple[tuple[str, str], ...] = ()

    def field(self, name: str) -> str | None:
        """The first element's text of this name."""
        return next((value for key, value in self.fields if key == name), None)

    @property
    def is_passing(self) -> bool:
        """Whether the same request may be answered otherwise soon."""
        return self.status >= 500 or self.code in {"Throttling", "ThrottlingException", "RequestLimitExceeded"}


def read_answer(status: int, body: bytes) -> Answer:
    """An answer; one that cannot be read has the code Unreadable."""
    if len(body) > MAX_ANSWER_BYTES or b"<!" in body.replace(b"<![CDATA[", b""):
        return Answer(status, "Unreadable")
    try:
        root = ET.fromstring(body)  # noqa: S314  entities and document types are refused above
    except ET.ParseError:
        return Answer(status, None if status == 200 and not body else "Unreadable")
    fields = tuple((element.tag.rpartition("}")[2], element.text or "") for element in root.iter())
    answer = Answer(status, fields=fields)
    if status == 200:
        return answer
    return Answer(status, answer.field("Code") or "Unknown", answer.field("Message") or "", fields)

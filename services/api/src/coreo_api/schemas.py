"""What all request and answer bodies share."""

import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints


class Body(BaseModel):
    """A request body, or the query parameters: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class View(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


def plain_text(value: str) -> str:
    """Refuses what PostgreSQL cannot store (NUL, lone surrogates) and what does not show (control characters)."""
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        raise ValueError("must not contain control characters or broken Unicode")
    return value


def _not_null(value: Any) -> Any:
    if value is None:
        raise ValueError("must not be null; leave the field out to keep what is there")
    return value


NotNull = BeforeValidator(_not_null)  # for fields of a PATCH that may be left out
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(plain_text),
    Field(description="For people; 1 to 100 characters.", examples=["production"]),
]

"""What was audited, and the formats in which that can be told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final


class Format(StrEnum):
    """A format of findings; docs/exports.md says what each is for."""

    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    OCSF = "ocsf"
    ASFF = "asff"
    SARIF = "sarif"
    JUNIT = "junit"
    HTML = "html"


# How the names of such files end.
SUFFIXES: Final[Mapping[Format, str]] = {
    Format.JSON: ".json",
    Format.JSONL: ".jsonl",
    Format.CSV: ".csv",
    Format.OCSF: ".ocsf.json",
    Format.ASFF: ".asff.json",
    Format.SARIF: ".sarif",
    Format.JUNIT: ".junit.xml",
    Format.HTML: ".html",
}
# What the HTML report sums up where no framework was asked for.
USUAL_FRAMEWORKS: Final = ("cis-aws-7.0", "aws-fsbp")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One run in one account. Times are in UTC.

    `rules` are those that ran, with or without findings; `complete` is False where something could not be judged or
    the run was stopped; `frameworks` are those that the HTML report sums up, with `answers`: framework -> control ->
    whether a person said that it is met.
    """

    account_id: str
    partition: str
    run_id: str
    started_at: datetime
    ended_at: datetime
    version: str
    regions: tuple[str, ...]
    rules: tuple[str, ...]
    complete: bool
    frameworks: tuple[str, ...] = ()
    answers: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)

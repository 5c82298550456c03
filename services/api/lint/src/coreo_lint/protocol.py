"""What goes in and what comes out, as JSON."""

from dataclasses import dataclass, field
from typing import Any, Final

MAX_TEMPLATE_BYTES: Final = 51_200  # of a template that is sent to CloudFormation by value (CreateChangeSet)
BEATEN: Final = 3  # exit status: this template cannot be judged; other statuses are bugs of ours
MAX_FINDINGS: Final = 100
MAX_MESSAGE: Final = 500


@dataclass(frozen=True)
class Request:
    """`parameters`, `capabilities` and `regions` are what the plan says beside its template."""

    template: str
    regions: tuple[str, ...] = ()
    parameters: dict[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something about the template. Lines and columns count from 1. An `error` is what CloudFormation would refuse."""

    rule: str
    level: str  # error, warning, info
    line: int
    column: int
    message: str


@dataclass(frozen=True)
class Misfit:
    """What the plan says does not fit the template. `field` is below the plan's spec: `parameters.Size`."""

    field: str
    message: str


@dataclass(frozen=True)
class Parameter:
    """A parameter that the template declares."""

    name: str
    type: str
    no_echo: bool
    has_default: bool
    line: int


@dataclass(frozen=True)
class Resource:
    """A resource that the template declares."""

    logical_id: str
    type: str
    line: int


@dataclass
class Answer:
    """All there is to say of a template. `left_out`: findings that are too many to be told."""

    findings: list[Finding] = field(default_factory=list)
    misfits: list[Misfit] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    resources: list[Resource] = field(default_factory=list)
    capabilities: list[str] = field(default_factory=list)  # those that the template needs
    left_out: int = 0

    def add(self, finding: Finding) -> None:
        """Tells it, unless enough was told; long texts are cut."""
        if len(self.findings) >= MAX_FINDINGS:
            self.left_out += 1
            return
        text = finding.message
        cut = text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 1]}…"
        self.findings.append(Finding(finding.rule, finding.level, finding.line, finding.column, cut))


def request_of(message: dict[str, Any]) -> Request:
    """The request in a message of the api, which has checked it."""
    return Request(
        template=message["template"],
        regions=tuple(message["regions"]),
        parameters=dict(message["parameters"]),
        capabilities=tuple(message["capabilities"]),
    )

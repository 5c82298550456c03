"""What can go wrong, in the words that people see: what is wrong, which field, what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

EXIT_ERROR: Final = 1
EXIT_USAGE: Final = 2
EXIT_PARTIAL: Final = 3
EXIT_NOT_SUCCEEDED: Final = 4
EXIT_FINDINGS: Final = 5
EXIT_INSECURE: Final = 6
EXIT_UNREACHABLE: Final = 7
EXIT_WAITING: Final = 8
EXIT_UNKNOWN: Final = 9
EXIT_INTERRUPTED: Final = 130


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one field; `field` is the api's dotted path, or an option's name."""

    field: str
    message: str


class CliError(Exception):
    """Ends the command. `lines` say more, one a line; `next_step` says what to do about it."""

    def __init__(
        self,
        problem: str,
        *,
        lines: Sequence[str] = (),
        next_step: str | None = None,
        request_id: str | None = None,
        exit_code: int = EXIT_ERROR,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.lines = tuple(lines)
        self.next_step = next_step
        self.request_id = request_id
        self.exit_code = exit_code


class UsageMistakeError(CliError):
    """The command line itself cannot be right."""

    def __init__(self, problem: str, *, next_step: str | None = None) -> None:
        super().__init__(problem, next_step=next_step, exit_code=EXIT_USAGE)


class UnreachableError(CliError):
    """Nobody answered, or not in time. `sent`: the request may have arrived all the same."""

    def __init__(self, problem: str, *, sent: bool, next_step: str) -> None:
        super().__init__(problem, next_step=next_step)
        self.sent = sent


class ApiError(CliError):
    """The api's problem answer (RFC 9457)."""

    def __init__(
        self,
        status: int,
        code: str,
        problem: str,
        *,
        fields: Sequence[FieldProblem] = (),
        lines: Sequence[str] = (),
        next_step: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(problem, lines=lines, next_step=next_step, request_id=request_id)
        self.status = status
        self.code = code
        self.fields = tuple(fields)
        self.retry_after = retry_after

    @property
    def is_passing(self) -> bool:
        """Whether the same request may well succeed in a while."""
        return self.status in {429, 502, 503, 504}

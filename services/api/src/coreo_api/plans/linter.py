"""Has a template looked at by `coreo_lint`, in a process of its own: bounded, killed when late, and told nothing else.

It runs under another interpreter where the settings name one: its environment has the AWS SDK, which the api's has not.
"""

import asyncio
import contextlib
import math
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec

from coreo_shared.contracts.base import encode_json
from coreo_shared.observability.logs import get_logger
from coreo_shared.web import FieldError, Problem
from coreo_shared.web.problems import invalid

SECONDS: Final = 28.0  # to wait for its turn and its answer: clients wait for 30
_AT_ONCE: Final = 2  # each takes a core; a team has one of them, so that no team keeps all others waiting
_FAIR_SHARE: Final = 0.75  # of `seconds`: whoever had less to run cannot be blamed for not being through
_BEATEN: Final = 3  # coreo_lint.protocol.BEATEN
_ERROR: Final = "error"
_log = get_logger(__name__)


class Finding(msgspec.Struct, frozen=True):
    """As coreo_lint.protocol."""

    rule: str
    level: str
    line: int
    column: int
    message: str


class Misfit(msgspec.Struct, frozen=True):
    """As coreo_lint.protocol."""

    field: str
    message: str


class Parameter(msgspec.Struct, frozen=True):
    """As coreo_lint.protocol."""

    name: str
    type: str
    no_echo: bool
    has_default: bool
    line: int


class Resource(msgspec.Struct, frozen=True):
    """As coreo_lint.protocol."""

    logical_id: str
    type: str
    line: int


class Checked(msgspec.Struct, frozen=True):
    """As coreo_lint.protocol.Answer."""

    findings: list[Finding]
    misfits: list[Misfit]
    parameters: list[Parameter]
    resources: list[Resource]
    capabilities: list[str]
    left_out: int


@dataclass(frozen=True)
class Wish:
    """A template, and what the plan says beside it."""

    template: str
    regions: Sequence[str] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    capabilities: Sequence[str] = ()


class Linter:
    """`python`: the interpreter that has coreo_lint. `seconds`: how long one template may take, waiting included."""

    def __init__(self, python: str, *, seconds: float = SECONDS) -> None:
        self._command = (python, "-I", "-B", "-X", "utf8", "-m", "coreo_lint")
        self._seconds = seconds
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._of_teams = WeakValueDictionary[UUID, asyncio.Lock]()  # each while somebody has it or waits for it

    async def check(self, wish: Wish, *, team_id: UUID, field: str) -> Checked:
        """What there is to say of the template. Raises Problem, about `field` where it is the template's fault."""
        body = encode_json(
            {
                "template": wish.template,
                "regions": list(wish.regions),
                "parameters": dict(wish.parameters),
                "capabilities": list(wish.capabilities),
            }
        )
        turn = self._of_teams.setdefault(team_id, asyncio.Lock())
        clock = asyncio.get_running_loop().time
        begun, started = clock(), math.inf
        try:
            async with asyncio.timeout(self._seconds), turn, self._turns:
                started = clock()
                return await self._run(body, field)
        except TimeoutError:
            if started - begun > (1 - _FAIR_SHARE) * self._seconds:
                raise _busy() from None
            _log.warning("template_not_checked", cause="time")
            raise invalid(field, _TOO_MUCH) from None

    async def _run(self, body: bytes, field: str) -> Checked:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env={},  # it needs to know nothing, and must not know what this process does
            cwd="/",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            answer, said = await process.communicate(body)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        status = process.returncode
        if status is None or status < 0 or status == _BEATEN:  # by a signal: out of memory or time, mostly
            cause = said.decode("ascii", "replace")[:100]
            _log.warning("template_not_checked", status=status, cause=cause)
            raise invalid(field, _TOO_MUCH)
        if status != 0:
            last = said.decode("utf-8", "replace")[-500:]  # before it has read a template
            raise RuntimeError(f"coreo_lint does not run (exit status {status}): {last}")
        return msgspec.json.decode(answer, type=Checked)


_TOO_MUCH: Final = (
    "This template could not be checked: it takes more time or memory than a template may, or breaks the linter. Make "
    "it smaller or split it; a template that `cfn-lint` on your machine takes within seconds is fine here."
)


def refuse(checked: Checked, field: str) -> None:
    """Raises a 422 Problem that names every error by its line, and all that does not fit the template."""
    errors = [
        FieldError(f"{field}.template", f"line {found.line}, column {found.column}: {found.rule} {found.message}")
        for found in checked.findings
        if found.level == _ERROR
    ]
    errors += [FieldError(f"{field}.{misfit.field}", misfit.message) for misfit in checked.misfits]
    if errors:
        named = ", ".join(dict.fromkeys(error.field for error in errors))
        raise Problem(422, "invalid", f"Not valid: {named}.", errors=tuple(errors))


def _busy() -> Problem:
    detail = "Too many templates are being checked just now. Try again in some seconds; nothing was changed."
    return Problem(503, "linter_busy", detail, title="Busy", headers={"Retry-After": "5"})

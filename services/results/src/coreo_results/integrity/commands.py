"""The command `coreo-results verify`."""

import argparse
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from coreo_results.integrity.service import Fault
    from coreo_results.opening import Custody

NAMES = ("verify",)


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command's parser."""
    verify = commands.add_parser(
        "verify",
        help="decrypt all that is stored, and report what does not open",
        description="Needs COREO_DATABASE_URL, COREO_SYSTEM_DATABASE_URL, COREO_ROOT_KEY and COREO_VAULT. Decrypts "
        "every chunk of findings, every key and every decision, holds them against what stands in clear, and goes on "
        "where something is wrong. It changes nothing and may run while the service runs. Exit status 1: something is "
        "wrong, or could not be looked at.",
    )
    verify.add_argument("--team", metavar="ID", type=UUID, help="of this team alone")
    verify.add_argument("--json", action="store_true", help="one JSON object for each fault, then one with the counts")


def run(arguments: argparse.Namespace) -> None:
    """Runs the command and exits."""
    from coreo_results.commands import run_command  # noqa: PLC0415  --help answers at once

    run_command(lambda custody: _verify(custody, arguments))


async def _verify(custody: "Custody", arguments: argparse.Namespace) -> bool:
    import msgspec  # noqa: PLC0415  as above

    from coreo_results.integrity.service import Integrity  # noqa: PLC0415

    integrity = Integrity(custody.database, custody.system_database, custody.keys)
    faults = unchecked = 0
    async for fault in integrity.faults(arguments.team):
        faults += not fault.unchecked
        unchecked += fault.unchecked
        print(msgspec.json.encode(fault).decode() if arguments.json else _line(fault), flush=True)  # noqa: T201
    checked = integrity.checked
    if arguments.json:
        counts = {
            name: getattr(checked, name) for name in ("teams", "runs", "chunks", "findings", "documents", "texts")
        }
        print(msgspec.json.encode({"checked": counts, "faults": faults, "unchecked": unchecked}).decode())  # noqa: T201
    else:
        print(  # noqa: T201
            f"Decrypted {checked.chunks} chunks with {checked.findings} findings of {checked.runs} runs, "
            f"{checked.documents} documents and {checked.texts} decisions, of {checked.teams} teams. "
            + (f"{faults} faults, {unchecked} not looked at." if faults or unchecked else "All is well.")
        )
    return not (faults or unchecked)


def _line(fault: "Fault") -> str:
    parts = [f"team {fault.team_id}"]
    parts += [] if fault.run_id is None else [f"run {fault.run_id}"]
    parts += [] if fault.unit is None else [f"unit {fault.unit}"]
    parts += [] if fault.chunk is None else [f"chunk {fault.chunk}"]
    return f"{', '.join(parts)}: {fault.what}"

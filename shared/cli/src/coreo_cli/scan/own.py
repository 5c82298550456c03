"""Rule packs in files on this machine."""

from collections.abc import Sequence
from pathlib import Path

from coreo_cli.errors import CliError
from coreo_cli.text import plain
from coreo_shared.catalogue import Catalogue
from coreo_shared.catalogue.packs import Pack, PackError, read_pack, with_packs
from coreo_shared.rules.yamltext import MAX_BYTES


def read_file(path: Path, catalogue: Catalogue) -> Pack:
    """The pack of a file. Raises CliError whose lines are what is wrong: file, line, field."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode()
    except OSError as error:
        raise CliError(f"{plain(path)} cannot be read: {error.strerror or 'error'}.") from None
    except UnicodeDecodeError:
        raise CliError(f"{plain(path)} is not text in UTF-8.") from None
    try:
        return read_pack(text, catalogue, str(path))
    except PackError as error:
        raise CliError(
            f"{plain(path)} is not a rule pack that can be used.",
            lines=[plain(problem) for problem in error.problems],
            next_step="docs/rules.md describes the language; `coreo rules show RULE` a rule.",
        ) from None


def with_files(catalogue: Catalogue, paths: Sequence[Path]) -> tuple[Catalogue, list[str]]:
    """The catalogue with the packs of these files, and the ids of their rules. Raises CliError."""
    packs: dict[str, Pack] = {}
    for path in paths:
        pack = read_file(path, catalogue)
        if pack.name in packs:
            raise CliError(f"--pack: two files have the pack {pack.name}.")
        packs[pack.name] = pack
    return with_packs(catalogue, packs.values()), [rule_id for pack in packs.values() for rule_id in pack.rules]

"""What an argument means: an id, the beginning of an id that fits one thing only, or a name."""

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coreo_cli.errors import ApiError, CliError
from coreo_cli.text import Json, plain

if TYPE_CHECKING:
    from coreo_cli.client import Client

LATEST: Final = "latest"
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PREFIX = re.compile(r"[0-9a-f]{4,8}|[0-9a-f]{8}-[0-9a-f-]{0,27}")
_MAX_CANDIDATES = 10


@dataclass(frozen=True)
class Kind:
    """A kind of thing that arguments name. `names`: its fields that people may use."""

    noun: str
    path: str
    list_command: str
    names: tuple[str, ...]
    has_page: bool = True  # GET path/id


ACCOUNT: Final = Kind("cloud account", "/v1/cloud-accounts", "coreo account list", ("name", "account_id"))
PLAN: Final = Kind("plan", "/v1/plans", "coreo plan list", ("name",))
RUN: Final = Kind("run", "/v1/runs", "coreo run list", ())
TOKEN: Final = Kind("token", "/v1/tokens", "coreo token list", ("name",), has_page=False)


def is_id(text: str) -> bool:
    """Whether this is a whole id, which may be that of something that is not listed any more."""
    return _ID.fullmatch(text.strip().lower()) is not None


def resolve(client: "Client", kind: Kind, text: str) -> Json:
    """The thing that the argument means. Raises CliError that lists the candidates when there are several."""
    wanted = text.strip()
    identifier = wanted.lower()
    if kind is RUN and identifier == LATEST:
        return _latest(client)
    if kind.has_page and _ID.fullmatch(identifier):
        return _by_id(client, kind, identifier)
    named, prefixed, names = _matches(client, kind, wanted, identifier)
    found = named or prefixed
    if len(found) == 1:
        return found[0]
    if found:
        raise _ambiguous(kind, wanted, found)
    raise _missing(kind, wanted, names)


def _matches(client: "Client", kind: Kind, wanted: str, identifier: str) -> tuple[list[Json], list[Json], set[str]]:
    """What has that name, what has an id that begins so, and all names there are."""
    named, prefixed, names = list[Json](), list[Json](), set[str]()
    is_prefix = bool(_ID.fullmatch(identifier) or _PREFIX.fullmatch(identifier))
    if not kind.names and not is_prefix:
        return named, prefixed, names
    for item in client.items(kind.path):
        if is_prefix and item["id"].startswith(identifier):
            prefixed.append(item)
        elif not kind.names and item["id"] < identifier:
            break  # lists go from new to old and ids grow with time: no older one can begin so
        if wanted in (item[name] for name in kind.names):
            named.append(item)
        names.update(str(item[name]) for name in kind.names)
    return named, prefixed, names


def _by_id(client: "Client", kind: Kind, identifier: str) -> Json:
    try:
        return client.get(f"{kind.path}/{identifier}")
    except ApiError as error:
        if error.status != 404:
            raise
        raise _missing(kind, identifier, set()) from None


def _latest(client: "Client") -> Json:
    newest = next(client.items(RUN.path, limit=1), None)
    if newest is None:
        raise CliError("There are no runs yet.", next_step="Start one: `coreo run start PLAN --watch`.")
    return newest


def _ambiguous(kind: Kind, wanted: str, found: list[Json]) -> CliError:
    shown = [f"{item['id']}  {_label(kind, item)}".rstrip() for item in found[:_MAX_CANDIDATES]]
    if len(found) > _MAX_CANDIDATES:
        shown.append(f"… and {len(found) - _MAX_CANDIDATES} more")
    return CliError(
        f"{plain(wanted)!r} fits {len(found)} {kind.noun}s.",
        lines=shown,
        next_step="Give the id, or as much of it as fits one only.",
    )


def _missing(kind: Kind, wanted: str, names: set[str]) -> CliError:
    close = [name for name in sorted(names) if wanted and wanted.lower() in name.lower()][:3]
    close = close or difflib.get_close_matches(wanted, sorted(names), n=3)
    meant = f" Did you mean {' or '.join(repr(plain(name)) for name in close)}?" if close else ""
    return CliError(
        f"There is no {kind.noun} {plain(wanted)!r}.{meant}", next_step=f"`{kind.list_command}` shows what there is."
    )


def _label(kind: Kind, item: Json) -> str:
    label = "  ".join(plain(item[name]) for name in kind.names)
    return label or f"{item['state']}  {item['created_at']}"


def short_ids(ids: list[str], *, at_least: int = 13) -> dict[str, str]:
    """For each id the shortest beginning that none of the others has; ids of one millisecond share 13 characters."""
    ordered = sorted(set(ids))
    short = {}
    for index, each in enumerate(ordered):
        beside = ordered[max(index - 1, 0) : index] + ordered[index + 1 : index + 2]
        length = max([at_least, *(_common(each, other) + 1 for other in beside)])
        short[each] = each[:length]
    return short


def _common(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((index for index, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))

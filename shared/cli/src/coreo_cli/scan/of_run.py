"""The findings of a run of the service, as the formats that `coreo scan` writes too."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from coreo_cli.errors import ApiError
from coreo_cli.output import note
from coreo_cli.scan.spool import Spool
from coreo_cli.session import query
from coreo_cli.text import Json
from coreo_shared.catalogue import GLOBAL, Catalogue, load_catalogue
from coreo_shared.catalogue.packs import PackError, read_pack, with_packs
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, RunState
from coreo_shared.exports import Subject

if TYPE_CHECKING:
    from coreo_cli.client import Client

_T = TypeVar("_T")
_PAGE = 1_000  # findings that the api gives at once
_NOT_FOUND = 404
_FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(Finding))


@dataclass(frozen=True)
class Framed:
    """A run against frameworks: what people answered that holds, and the rules that ran."""

    answers: dict[str, dict[str, bool]]
    rules: frozenset[str]


def fetch(client: "Client", run: Json, spool: Spool) -> None:
    """Puts all findings of the run into the spool, page after page."""
    statuses = query(status=[status.value for status in FindingStatus])
    spool.add(_finding(item) for item in client.items(f"/v1/runs/{run['id']}/findings", statuses, size=_PAGE))


def _finding(item: Json) -> Finding:
    """A finding as the exports take it. Why somebody suppressed it is the reason that it has."""
    told: dict[str, Any] = {name: item[name] for name in _FIELDS if name in item}
    if item.get("suppression_reason") is not None:
        told["reason"] = item["suppression_reason"]
    return msgspec.convert(told, Finding)


def framed(client: "Client", run: Json, frameworks: Iterable[str]) -> Framed:
    """How the run stands against the frameworks, as the service knows it. Raises ApiError for one that is not there."""
    answers: dict[str, dict[str, bool]] = {}
    rules: set[str] = set()
    for name in frameworks:
        view = client.get(f"/v1/runs/{run['id']}/compliance", query(framework=name))
        given = {control["id"]: control["answer"] for control in view["controls"] if control["answer"] is not None}
        answers[name] = {control: bool(answer["met"]) for control, answer in given.items() if not answer["expired"]}
        rules |= {
            rule for control in view["controls"] for rule, counts in control["rules"].items() if counts is not None
        }
    return Framed(answers, frozenset(rules))


def subject_of(run: Json, account: Json, spool: Spool, framed_: Framed, frameworks: Sequence[str]) -> Subject:
    """What was audited."""
    rules, regions = set(framed_.rules), set[str]()
    for finding in spool:
        rules.add(finding.rule_id)
        regions.add(finding.region)
    role = account["role_arn"]
    return Subject(
        account_id=account["account_id"],
        partition=role.split(":")[1] if role else "aws",
        run_id=run["id"],
        started_at=datetime.fromisoformat(run["dispatched_at"] or run["created_at"]),
        ended_at=datetime.fromisoformat(run["ended_at"] or run["updated_at"]),
        version=version("coreo-cli"),
        regions=tuple(sorted(regions - {GLOBAL})),
        rules=tuple(sorted(rules)),
        complete=run["state"] == RunState.SUCCEEDED,
        frameworks=tuple(frameworks),
        answers=framed_.answers,
    )


def catalogue_of(client: "Client", run: Json) -> Catalogue:
    """The catalogue, with the rule packs that the run had: their rules have titles and remedies as well."""
    catalogue = load_catalogue()
    texts = list(_packs(client, run))
    try:
        return with_packs(catalogue, [read_pack(text, catalogue) for text in texts]) if texts else catalogue
    except PackError:
        note("A rule pack of the run does not fit this release of the command: its rules go by their ids.")
        return catalogue


def _packs(client: "Client", run: Json) -> Iterator[str]:
    """The texts of the packs of the plan as it was then; none where the plan is gone, as after a dry run."""
    revisions = _if_there(lambda: list(client.items(f"/v1/plans/{run['plan_id']}/revisions"))) or []
    spec: Json = next((each["spec"] for each in revisions if each["revision"] == run["plan_revision"]), {})
    for pack in spec.get("rule_packs", ()):
        name, _, number = pack.partition("@")
        found = _if_there(partial(client.get, f"/v1/rule-packs/{name}/source", query(version=number or None)))
        if found is not None:
            yield found["source"]


def _if_there(ask: Callable[[], _T]) -> _T | None:
    """What the api answers, or None where it has no such thing."""
    try:
        return ask()
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        return None

"""An AWS that answers as it must for a rule's example case: the case's item, taken apart into the API's own answers.

Each answer is held against the SDK's model of the operation's output, so that no case rests on what AWS cannot say.
"""

import copy
import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from coreo_shared.catalogue import Catalogue
from coreo_shared.rules.cases import REGION, Case
from coreo_shared.rules.model import GLOBAL, Call, Enrichment, ResourceType
from coreo_shared.rules.paths import FieldPath
from coreo_shared.rules.values import Listing, Unknown
from coreo_worker.aws.pages import pagination
from tests.support.engine import ACCOUNT, Answer, PlainAws
from tests.support.shaped_aws import check_call, operations

_DENIED = Unknown("denied")
_HARMLESS = ("Missing required parameter", "Invalid length for parameter", "Invalid range for parameter")


class CaseAws(PlainAws):
    """Answers for the resources of one case; what the case does not tell of is denied."""

    def __init__(self, catalogue: Catalogue, case: Case, home: str) -> None:
        super().__init__(_Answers(self))
        self._catalogue = catalogue
        self._home = home
        self._told: dict[tuple[str, str], Any] = {}  # (service.operation, parameters) -> answer, None or Unknown
        self._names: defaultdict[str, set[str]] = defaultdict(
            set
        )  # the parameters that the catalogue gives each operation
        # Whether the case denies a part of what one listing tells. AWS cannot: it gives all of that or nothing.
        self.is_partly_listed = False
        self.listed: dict[str, list[dict[str, Any]]] = {}
        for name in case.rule.relations:
            self._tell_of(catalogue.resource_types[name], case.relations.all(name))
        self._tell_of(catalogue.resource_types[case.rule.resource], Listing([case.item]))

    def answer(self, operation: str, params: Mapping[str, Any]) -> Any:
        """What is told of this call; raises as the SDK does."""
        service, _, name = operation.partition(".")
        check_call(operations(service)[name], params, partial=True)
        # The others are about pages, of which there is one.
        key = (operation, _key({each: value for each, value in params.items() if each in self._names[operation]}))
        told = self._told.get(key, _DENIED)
        if isinstance(told, Unknown):
            raise _error("AccessDenied", 403)
        if isinstance(told, str):
            code, _, message = told.partition(": ")
            raise _error(code, 400, message)
        _check(operation, told)
        return copy.deepcopy(told)

    def _tell_of(self, kind: ResourceType, listing: Listing) -> None:
        items = [*self.listed.get(kind.name, ()), *(dict(item) for item in listing.items)]
        self.listed[kind.name] = items
        if kind.parent is not None:
            parents = [item.get("Parent") or {} for item in items]
            self._tell_of(self._catalogue.resource_types[kind.parent], Listing(parents))
        where = kind.asked_in or (self._home if kind.scope == GLOBAL else REGION)
        context = {"account": ACCOUNT, "region": where, "partition": "aws"}
        if kind.listing is not None:
            for owner in [item.get("Parent") or {} for item in items] if kind.parent else [{}]:
                answer = _DENIED if listing.missing else self._listing(kind, items, owner)
                self._tell(kind.listing, owner, context, answer)
        for item in items:
            owner = item if kind.listing is not None else item | {"AccountId": ACCOUNT, "Region": where}
            for enrichment in kind.enrichments.values():
                for element in _owners(owner, enrichment):
                    if enrichment.name in element:  # else the case says nothing of it: it is denied
                        self._tell(enrichment.call, element, context, _answer_of(kind, enrichment, element))

    def _listing(self, kind: ResourceType, items: list[dict[str, Any]], owner: Mapping[str, Any]) -> Any:
        own = [item for item in items if kind.parent is None or (item.get("Parent") or {}) == owner]
        told = [_listed(kind, item) for item in own]
        if any(isinstance(value, Unknown) for item in told for value in item.values()):
            self.is_partly_listed = True
            return _DENIED
        if kind.items is None:
            raise TypeError(f"{kind.name} lists nothing")
        return _at(kind.items, [item[kind.scalar] for item in told] if kind.scalar else told)

    def _tell(self, call: Call, owner: Mapping[str, Any], context: Mapping[str, str], answer: Any) -> None:
        arguments = call.arguments(owner, context)
        if isinstance(arguments, Unknown):
            return
        paging = pagination(call.service, call.operation) if call.paginated else None
        for name in paging.first(1) if paging else ():
            arguments.pop(name, None)
        key = (f"{call.service}.{call.operation}", _key(arguments))
        self._names[key[0]].update(arguments)
        # One answer serves several fields; it is denied for all of them or for none.
        before = self._told.get(key)
        both = isinstance(before, dict) and isinstance(answer, dict)
        self._told[key] = before if isinstance(before, Unknown) else _merged(before, answer) if both else answer


class _Answers(dict[str, Answer]):
    """All operations there are."""

    def __init__(self, aws: "CaseAws") -> None:
        super().__init__()
        self._aws = aws

    def __missing__(self, operation: str) -> Answer:
        return lambda _region, params: self._aws.answer(operation, params)


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps({name: params[name] for name in sorted(params)}, default=str)


def _owners(item: dict[str, Any], enrichment: Enrichment) -> list[dict[str, Any]]:
    """The item, or those of its elements that the field is put into."""
    if enrichment.each is None:
        return [item]
    elements = item.get(enrichment.each)
    return elements if isinstance(elements, list) else []


def _listed(kind: ResourceType, item: Mapping[str, Any]) -> dict[str, Any]:
    """What the listing says of an item: all that no enrichment brings."""
    found = {name: value for name, value in item.items() if name not in kind.enrichments and name != "Parent"}
    return {name: _bare(kind, name, value) for name, value in found.items() if value is not None}


def _bare(kind: ResourceType, field: str, value: Any) -> Any:
    """A field without what enrichments put into its elements."""
    put = {enrichment.name for enrichment in kind.enrichments.values() if enrichment.each == field}
    if not put or not isinstance(value, list):
        return value
    return [{name: one for name, one in element.items() if name not in put} for element in value]


def _answer_of(kind: ResourceType, enrichment: Enrichment, owner: Mapping[str, Any]) -> Any:
    value = _bare(kind, enrichment.name, owner.get(enrichment.name))
    if isinstance(value, Unknown):
        return value
    if value is None:  # the API's way to say "none"
        return min(enrichment.call.absent_on, default={})
    if enrichment.take is None:
        return value
    if enrichment.columns:
        value = _csv(enrichment.columns, value)
    elif enrichment.scalar is not None:
        value = [element[enrichment.scalar] for element in value]
    return _at(enrichment.take, value)


def _csv(columns: Iterable[str], rows: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(columns), restval="N/A")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def _at(path: FieldPath, value: Any) -> Any:
    """An answer in which the path leads to the value."""
    spreads = list(path.spread)
    for position in range(len(path.names) - 1, -1, -1):
        name, last = path.names[position], position == len(path.names) - 1
        # At a spread before the last one element holds all; at the last the value is the list itself.
        value = {name: value if last or not spreads[position] else [value]}
    return value


def _merged(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return one | {name: _merged(one[name], value) if name in one else value for name, value in other.items()}
    return other


def _check(operation: str, answer: Any) -> None:
    service, _, name = operation.partition(".")
    shape = operations(service)[name].output_shape
    assert shape is not None, f"{operation} answers nothing"
    report = ParamValidator().validate(_wire(answer), shape)
    # Cases leave out what does not matter to them, and have short names.
    wrong = [line for line in report.generate_report().splitlines() if not line.startswith(_HARMLESS)]
    assert not wrong, f"{operation}: {wrong}"


def _wire(value: Any) -> Any:
    """Policies are text on the wire, also where the SDK hands them on as structures."""
    if isinstance(value, dict):
        return {name: json.dumps(one) if _is_policy(one) else _wire(one) for name, one in value.items()}
    return [_wire(one) for one in value] if isinstance(value, list) else value


def _is_policy(value: Any) -> bool:
    return isinstance(value, dict) and ("Statement" in value or ("Version" in value and "Id" in value))


def _error(code: str, status: int, message: str = "") -> ClientError:
    shape: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(shape, "Operation")

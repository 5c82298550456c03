"""An AWS that answers by botocore's own output shapes, one element in each list."""

import pickle
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import botocore.session
from botocore import xform_name
from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape
from botocore.validate import ParamValidator

from coreo_shared.catalogue import Catalogue
from coreo_shared.rules.model import ResourceType
from tests.support.engine import ACCOUNT, Answer

# What makes every enrichment worth a call, where the first value of an enumeration would not.
VALUES: dict[str, Any] = {
    "KeyManager": "CUSTOMER",
    "KeySpec": "SYMMETRIC_DEFAULT",
    "Origin": "AWS_KMS",
    "KeyState": "Enabled",
    "OwnerId": ACCOUNT,
    "Engine": "aurora-mysql",
    # References lead somewhere.
    "S3BucketName": "a-BucketName",
    "CloudWatchLogsLogGroupArn": "a-Arn",
    "PrefixListId": "pl-1",
}
# There is one page of everything; and a bucket whose region must be asked for.
LEFT_OUT = re.compile(r"(?i).*token.*|.*marker.*|IsTruncated|HasMore.*|LastEvaluated.*|position|BucketRegion")


def shaped_answers(catalogue: Catalogue, names: Iterable[str]) -> dict[str, Answer]:
    """What an AWS of functions needs for these resource types."""
    services = {service for name in names for service in _services_of(catalogue.resource_types[name])}
    return {name: answer for service in services for name, answer in _answers_of(service).items()}


def _services_of(kind: ResourceType) -> set[str]:
    enriching = {enrichment.call.service for enrichment in kind.enrichments.values()}
    return enriching | ({kind.listing.service} if kind.listing else set())


@cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()


@cache
def operations(service: str) -> dict[str, OperationModel]:
    """The service's operations by the names that the SDK's client gives them."""
    model = _session().get_service_model(service)
    return {xform_name(name): model.operation_model(name) for name in model.operation_names}


def check_call(model: OperationModel, params: Mapping[str, Any], *, partial: bool = False) -> None:
    """Fails where AWS, or the SDK before it, would refuse the call: names, types, sizes of pages, and what is missing.

    `partial`: what is asked for is an example's item that leaves something out.
    """
    shape = model.input_shape
    assert shape is not None or not params, f"{model.name} takes nothing"
    if shape is None:
        return
    report = ParamValidator().validate(params, shape).generate_report().splitlines()
    harmless = ("Invalid length", *(("Missing required parameter",) if partial else ()))  # examples have short names
    wrong = [line for line in report if not line.startswith(harmless)]
    assert not wrong, f"{model.name}: {wrong}"
    for name, value in params.items():  # the SDK leaves too much to AWS
        most = shape.members[name].metadata.get("max")
        assert not isinstance(value, int) or most is None or value <= most, f"{model.name}: {name} is {value} > {most}"


def example(shape: Shape | None, seen: tuple[str, ...] = ()) -> Any:
    """A value of the shape: one element in each list, every member filled in as far as it does not repeat itself."""
    if isinstance(shape, StructureShape):
        if shape.name in seen:
            return {}
        members = {name: of for name, of in shape.members.items() if not LEFT_OUT.fullmatch(name)}
        return {name: VALUES.get(name, example(of, (*seen, shape.name))) for name, of in members.items()}
    if isinstance(shape, ListShape):
        return [example(shape.member, seen)]
    if isinstance(shape, MapShape):
        return {"key": example(shape.value, seen)}
    if isinstance(shape, StringShape):
        return shape.enum[0] if shape.enum else f"a-{shape.name}"
    name = shape.type_name if shape is not None else "structure"
    plain = {"boolean": False, "timestamp": datetime(2026, 1, 1, tzinfo=UTC), "blob": b"user,arn\nalice,a\n"}
    return plain.get(name, 1)


def _answers_of(service: str) -> dict[str, Answer]:
    def answer_of(model: OperationModel) -> Answer:
        @cache
        def written() -> bytes:
            return pickle.dumps(example(model.output_shape) if model.output_shape else {})

        def answer(_region: str, params: Mapping[str, Any]) -> dict[str, Any]:
            check_call(model, params)
            found: dict[str, Any] = pickle.loads(written())  # noqa: S301  our own, and the quickest copy
            return found

        return answer

    return {f"{service}.{name}": answer_of(model) for name, model in operations(service).items()}

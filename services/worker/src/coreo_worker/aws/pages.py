"""How an operation's answers go on over several pages, by the SDK's own description of it.

The SDK's paginators are tied to one client; here each page is a call of its own, so that it has the newest credentials
and takes its place among the other calls.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jmespath
from botocore import xform_name
from botocore.exceptions import UnknownServiceError
from botocore.model import OperationModel, ServiceModel, Shape, StructureShape

from coreo_worker.aws.clients import sdk_session

_TOKENS = ("NextToken", "nextToken", "NextMarker", "nextMarker")
_LIMITS = ("MaxResults", "maxResults", "Limit", "limit")
PAGE_SIZE = 100  # parsing a page of 1,000 instances blocks for half a second


@dataclass(frozen=True)
class Pagination:
    """The parameters that ask for the next page, the paths in an answer that give their values, and the page's size.

    `most`: the largest page that the operation gives, where the SDK knows; `as_text`: it takes the size as text.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    more: str | None
    limit: str | None
    most: int | None = None
    as_text: bool = False

    def first(self, size: int) -> dict[str, Any]:
        """What the first call asks for besides its parameters, in pages of `size`, or less where that is too much."""
        if self.limit is None:
            return {}
        fitting = size if self.most is None else min(size, self.most)
        return {self.limit: str(fitting) if self.as_text else fitting}

    def following(self, answer: Mapping[str, Any], size: int) -> dict[str, Any] | None:
        """What the call after `answer` asks for besides its parameters; None after the last page."""
        if self.more is not None and not jmespath.search(self.more, answer):
            return None
        tokens = [jmespath.search(path, answer) for path in self.outputs]
        if not any(tokens):
            return None
        given = {name: token for name, token in zip(self.inputs, tokens, strict=True) if token}
        return self.first(size) | given


@functools.cache
def pagination(service: str, operation: str) -> Pagination | None:
    """The pagination of `operation` (as `describe_instances`); None where the whole answer comes at once."""
    model = _operation(service, operation)
    described = _described(service, model.name) or _by_token(model)
    if described is None:
        return None
    limit = described.get("limit_key")
    size = _members(model.input_shape)[limit] if limit else None
    return Pagination(
        inputs=_names(described["input_token"]),
        outputs=_names(described["output_token"]),
        more=described.get("more_results"),
        limit=limit,
        most=size.metadata.get("max") if size else None,
        as_text=size is not None and size.type_name == "string",
    )


def _described(service: str, api: str) -> dict[str, Any] | None:
    try:
        model = sdk_session().get_component("data_loader").load_service_model(service, "paginators-1")
    except UnknownServiceError:
        return None
    found: dict[str, Any] | None = model["pagination"].get(api)
    return found


def _by_token(model: OperationModel) -> dict[str, Any] | None:
    """Some operations go on over pages, and the SDK describes no paginator: what follows would be lost unseen."""
    given, told = _members(model.input_shape), _members(model.output_shape)
    token = next((name for name in _TOKENS if name in given and name in told), None)
    if token is None:
        return None
    limit = next((name for name in _LIMITS if name in given), None)
    return {"input_token": token, "output_token": token, "limit_key": limit}


def _operation(service: str, operation: str) -> OperationModel:
    # The SDK's loader keeps what it has read, for the client of the service.
    model = ServiceModel(sdk_session().get_component("data_loader").load_service_model(service, "service-2"), service)
    return model.operation_model(next(name for name in model.operation_names if xform_name(name) == operation))


def _members(shape: Shape | None) -> Mapping[str, Shape]:
    return shape.members if isinstance(shape, StructureShape) else {}


def _names(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)

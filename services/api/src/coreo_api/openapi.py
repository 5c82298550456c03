"""The OpenAPI document: what FastAPI derives, with our problem answers in place of its own."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from coreo_api.bootstrap.schemas import PostKeys

_READ_BY_US = (PostKeys,)  # bodies that FastAPI does not know of
_DESCRIPTION = """
Coreo audits AWS accounts: add a cloud account with its role, make a plan of rules, run it, read the findings. It also
changes them, by deploy plans: preview a CloudFormation stack, approve what you saw, apply it.

Every request carries a team token, `Authorization: Bearer coreo_…`, and sees that team alone. Lists come in pages: send
`next_cursor` back as `cursor`. What is not right is answered as a problem (RFC 9457): `code` is for programs, `detail`
says what to do, `errors` names the fields. Unknown fields are refused.
"""
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:coreo:problem:invalid"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; for programs."},
        "detail": {"type": "string", "description": "For people: what is wrong, and what to do."},
        "request_id": {"type": ["string", "null"], "description": "Name it when you ask for support."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_OF_RESULTS = {
    f"/v1/runs/{{run_id}}/{part}" for part in ("findings", "rules", "counts", "changes", "resolved", "compliance")
}
_WORDS = {
    "401": "No valid token.",
    "403": "The token has not the scope that this takes.",
    "404": "There is no such thing for this team.",
    "409": "It clashes with the present state.",
    "410": "The results of this run are gone: they expired, or were deleted.",
    "413": "The body is too large.",
    "422": "Some fields are not valid.",
    "503": "Something Coreo needs does not answer just now.",
}


def describe(app: FastAPI) -> None:
    """Makes `/openapi.json` say what the api does."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
            schemas = made["components"]["schemas"]
            schemas["Problem"] = _PROBLEM
            for body in _READ_BY_US:
                schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas |= schema.pop("$defs", {}) | {body.__name__: schema}
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for path, operations in made["paths"].items():
                for method, operation in operations.items():
                    _describe_problems(method, path, operation)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way


def _describe_problems(method: str, path: str, operation: dict[str, Any]) -> None:
    statuses = {"503"} if path.startswith("/health/") else {"401", "403", "422", "503"}
    if "{" in path:
        statuses.add("404")
    if method == "delete":
        statuses.add("409")
    if "requestBody" in operation:
        statuses |= {"409", "413"}
    if path in _OF_RESULTS and method == "get":
        statuses.add("410")
    operation["responses"].pop("422", None)
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status in sorted(statuses):
        operation["responses"][status] = {"description": _WORDS[status], "content": content}

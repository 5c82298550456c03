"""The console's files below `/console/`, with headers that let nothing act but its own scripts."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Final

from fastapi import FastAPI, Request, Response

from coreo_shared.web.problems import Problem, answer, not_found

_PAGE: Final = "index.html"
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")  # so that each is answered here
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
# Text of customers' accounts is shown beside buttons that change infrastructure. So nothing runs but our own files,
# text cannot become markup by mistake (trusted types, and no policy that makes any), and no other page frames this one.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'none'; "
    "frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
)


@dataclass(frozen=True)
class File:
    """A file of the console, as it is sent."""

    content: bytes
    media_type: str
    etag: str


@cache
def load_files() -> Mapping[str, File]:
    """All files of the console, by their path below `/console/`."""
    return MappingProxyType(dict(_read(files("coreo_api.console") / "static", "")))


def _read(folder: Traversable, prefix: str) -> list[tuple[str, File]]:
    found: list[tuple[str, File]] = []
    for each in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if each.is_dir():
            found += _read(each, f"{prefix}{each.name}/")
        elif (kind := _TYPES.get(each.name.rpartition(".")[2])) is not None:
            content = each.read_bytes()
            found.append((prefix + each.name, File(content, kind, f'"{hashlib.sha256(content).hexdigest()}"')))
    return found


class Console:
    """What it can send is in memory from the start: a path never becomes a file's name."""

    def __init__(self) -> None:
        self._files = load_files()

    async def answer(self, request: Request) -> Response:
        """Answers one request; each answer, a refusal too, has HEADERS."""
        response = self._answer(request, request.path_params.get("path"))
        response.headers.update(HEADERS)
        return response

    def _answer(self, request: Request, path: str | None) -> Response:
        if request.method not in {"GET", "HEAD"}:
            detail = "The console is read with GET; what it does goes to /v1."
            return answer(Problem(405, "method_not_allowed", detail, headers={"Allow": "GET, HEAD"}), request)
        if path is None:  # relative, as a proxy may have put us below another path
            return Response(status_code=308, headers={"Location": "console/", "Cache-Control": "no-store"})
        file = self._files.get(path or _PAGE)
        if file is None:
            return answer(not_found("page of the console"), request)
        # Modules are asked for anew at each visit, so that two versions never meet; unchanged ones are not sent.
        caching = "no-store" if file.media_type.startswith("text/html") else "no-cache"
        headers = {"ETag": file.etag, "Cache-Control": caching}
        if caching == "no-cache" and file.etag in _etags(request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        body = file.content if request.method == "GET" else b""
        headers["Content-Length"] = str(len(file.content))
        return Response(body, headers=headers, media_type=file.media_type)


def _etags(header: str) -> set[str]:
    """Those of If-None-Match, which compares weakly (RFC 9110, 13.1.2): a proxy that compresses makes them weak."""
    return {each.strip().removeprefix("W/") for each in header.split(",")}


def add_console(app: FastAPI) -> None:
    """Has the application serve it."""
    console = Console()
    for path in ("/console", "/console/{path:path}"):
        app.add_route(path, console.answer, methods=list(_METHODS), include_in_schema=False)

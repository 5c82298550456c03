"""The console's files: which are served, with which headers, and that nothing in them can make markup of text."""

import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import coreo_api.console
from coreo_api.console.serving import HEADERS, load_files
from tests.support.api import Api, ApiFactory, ok, problem
from tests.support.wheels import build_wheel

FOLDER = Path(coreo_api.console.__file__).parent / "static"
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file())
MODULES = [name for name in FILES if name.endswith(".js")]
# What makes markup, code or style of text. The browser refuses most of it too; a page must not come to depend on that.
SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|parseFromString|setHTML|"
    r"srcdoc|\beval\b|\bFunction\s*\(|javascript:|createPolicy|setAttribute\(\"(?!href|aria|tabindex)|\.style\b|"
    r"set(?:Timeout|Interval)\(\s*[\"'`]|\bcookie\b|localStorage|import\s*\("
)
IMPORT = re.compile(r"^import .*? from \"([^\"]+)\";$|^import \{[^}]*\} from \"([^\"]+)\";$", re.MULTILINE)


def strict(answer: Any) -> Any:
    """The answer, which has all headers that the console has."""
    assert {name: answer.headers.get(name) for name in HEADERS} == dict(HEADERS)
    return answer


def test_the_policy_lets_nothing_act_but_our_own_files() -> None:
    parts = [part.partition(" ") for part in HEADERS["content-security-policy"].split("; ")]
    policy = {name: value for name, _, value in parts}
    own = {name for name, value in policy.items() if value == "'self'"}
    assert own == {"script-src", "style-src", "connect-src", "img-src"}
    nothing = {name for name, value in policy.items() if value == "'none'"}
    assert nothing == {"default-src", "form-action", "frame-ancestors", "base-uri", "trusted-types"}
    assert policy["require-trusted-types-for"] == "'script'"
    assert (HEADERS["x-content-type-options"], HEADERS["referrer-policy"]) == ("nosniff", "no-referrer")


async def test_the_page_is_never_stored_and_its_parts_are_asked_for_anew(api: Api) -> None:
    http = api.client()
    page = strict(await http.get("/console/"))
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["cache-control"] == "no-store"
    script = strict(await http.get("/console/main.js"))
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["cache-control"] == "no-cache"
    etag = script.headers["etag"]
    for known in (etag, f'"other", {etag}', f"W/{etag}"):
        unchanged = strict(await http.get("/console/main.js", headers={"if-none-match": known}))
        assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", etag)
    assert (await http.get("/console/main.js", headers={"if-none-match": '"other"'})).status_code == 200
    head = strict(await http.head("/console/main.js"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(script.content))


async def test_every_file_is_served_as_it_is_without_a_token(api: Api) -> None:
    http = api.client()
    assert set(load_files()) == set(FILES)
    for name in FILES:
        answer = strict(await http.get(f"/console/{name}"))
        assert (answer.status_code, answer.content) == (200, (FOLDER / name).read_bytes()), name


@pytest.mark.parametrize(
    "path",
    [
        "%2e%2e/serving.py",
        "..%2f..%2fsettings.py",
        "core/%2e%2e/%2e%2e/serving.py",
        "%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc/passwd",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "core\\api.js",
        "core/",
        "core",
        "main.js%00.css",
        "MAIN.JS",
        "serving.py",
        "__init__.py",
        "nothing.js",
    ],
)
async def test_what_is_no_file_of_the_console_is_not_found(api: Api, path: str) -> None:
    body = problem(strict(await api.client().get(f"/console/{path}")), 404)
    assert "passwd" not in str(body)


async def test_only_reading_is_answered(api: Api) -> None:
    http = api.client()
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = strict(await http.request(method, "/console/"))
        assert problem(answer, 405)["code"] == "method_not_allowed"
        assert answer.headers["allow"] == "GET, HEAD"
    moved = strict(await http.get("/console"))
    assert (moved.status_code, moved.headers["location"]) == (308, "console/")


async def test_an_operator_can_turn_it_off(make_api: ApiFactory) -> None:
    api = make_api(console=False)
    http = api.client()
    for path in ("/console", "/console/", "/console/main.js"):
        problem(await http.get(path), 404)
    team = await api.team()
    ok(await team.http.get("/v1/team"))


async def test_it_is_no_part_of_the_api(api: Api) -> None:
    assert not [path for path in ok(await api.client().get("/openapi.json"))["paths"] if "console" in path]


async def test_a_token_is_told_what_it_may_do(api: Api) -> None:
    team = await api.team()
    made = ok(await team.http.post("/v1/tokens", json={"name": "looks", "scopes": ["read"]}), 201)
    shown = ok(await api.client(made["token"]).get("/v1/token"))
    assert (shown["id"], shown["name"], shown["scopes"]) == (made["id"], "looks", ["read"])
    assert "token" not in shown
    problem(await api.client().get("/v1/token"), 401)
    blind = ok(await team.http.post("/v1/tokens", json={"name": "blind", "scopes": ["plan"]}), 201)
    assert problem(await api.client(blind["token"]).get("/v1/token"), 403)["code"] == "scope_missing"


@pytest.mark.parametrize("name", MODULES)
def test_no_module_can_make_markup_of_text(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    found = {match[0] for match in SINKS.finditer(text)}
    assert not found
    assert len(text.splitlines()) < 400


@pytest.mark.parametrize(
    "line",
    [
        "element.innerHTML = name",
        'element["outerHTML"] = name',
        "row.insertAdjacentHTML('beforeend', name)",
        "document.write(name)",
        "eval(name)",
        "new Function(name)",
        "new  Function (name)",
        'setTimeout("go()", 5)',
        'element.setAttribute("onclick", name)',
        "element.style.color = name",
        "document.cookie",
        'localStorage.setItem("token", token)',
        "new DOMParser()",
        "await import(name)",
    ],
)
def test_what_would_is_found(line: str) -> None:
    assert SINKS.search(line)


def test_modules_import_each_other_and_nothing_else() -> None:
    for name in MODULES:
        text = (FOLDER / name).read_text(encoding="utf-8")
        for one, other in IMPORT.findall(text):
            place = one or other
            assert place.startswith("."), f"{name}: {place}"
            assert (FOLDER / name).parent.joinpath(place).resolve().is_relative_to(FOLDER), place
            assert (FOLDER / name).parent.joinpath(place).is_file(), f"{name}: {place}"
        assert len(IMPORT.findall(text)) == len(re.findall(r"^import\b", text, re.MULTILINE)), name
        assert not re.findall(r"https?://(?!`)[a-z]", text), name


class Tags(HTMLParser):
    """The page's elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_has_nothing_inline() -> None:
    tags = Tags((FOLDER / "index.html").read_text(encoding="utf-8")).tags
    assert [values["src"] for tag, values in tags if tag == "script"] == ["main.js"]
    assert "style" not in [tag for tag, _ in tags]
    for _, values in tags:
        assert not [name for name in values if name.startswith("on") or name == "style"]
    linked = {values["href"] for tag, values in tags if tag == "link"}
    assert linked <= set(FILES)
    assert "url(" not in (FOLDER / "console.css").read_text(encoding="utf-8")


def test_the_wheel_has_all_of_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_wheel("services/api", tmp_path)) as wheel:
        found = {name for name in wheel.namelist() if name.startswith("coreo_api/console/static/")}
    assert found == {f"coreo_api/console/static/{name}" for name in FILES}

"""The images: from exact versions, of locked wheels alone, run by nobody special, with one service alone inside."""

import json
import re
import tomllib
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from coreo_embedded.postgres import _wheel_binaries
from tests.support.containers import DOCKERFILES, ROOT, Image, load_images, run_tool

SERVICES = ("api", "results", "worker")
# What is in each image: the locks that it installs, and what it takes from the repository besides.
LOCKS = {service: {"build.txt", f"{service}.txt"} for service in SERVICES}
LOCKS["api"] |= {"lint.txt"}  # cfn-lint, in an environment of its own
LOCKS["platform"] = {"build.txt", "embedded.txt", "simulator.txt"}
SOURCES = {service: {"shared/pyproject.toml", "shared/src", f"services/{service}"} for service in SERVICES}
SOURCES["platform"] = {"shared/pyproject.toml", "shared/src", "infra"}
PROGRAMS = {"pip", "python", "install"}  # no package manager, no download, no shell
EXACT = re.compile(r"python:(\d+\.\d+\.\d+)-slim-[a-z]+( AS build)?")
NUMERIC_USER = re.compile(r"[1-9]\d*:[1-9]\d*")
AFTER_USER = {"USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def test_every_image_is_judged() -> None:
    assert set(DOCKERFILES) == {*SERVICES, "platform"}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfile_is_lint_clean(name: str) -> None:
    done = run_tool("hadolint", "--no-color", "--disable-ignore-pragma", str(DOCKERFILES[name]))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def find_problems(name: str, image: Image) -> Iterator[str]:
    """What an image of ours must not be."""
    bases = image.all("FROM")
    if len({base.split()[0] for base in bases}) != 1 or not all(EXACT.fullmatch(base) for base in bases):
        yield f"not from one exact version: {bases}"
    yield from _install_problems(name, image)
    yield from _copy_problems(name, image)
    after = image.instructions[[item.name for item in image.instructions].index("USER") :] if image.all("USER") else []
    if not NUMERIC_USER.fullmatch(image.user) or not {item.name for item in after} <= AFTER_USER:
        yield f"runs or is made by the wrong user: {image.user}"
    if not image.final("HEALTHCHECK"):
        yield "no health check"
    for command in [*image.final("ENTRYPOINT"), *image.final("CMD")]:
        if not command.startswith("["):
            yield f"through a shell: {command}"
    for variable in [*image.all("ARG"), *image.all("ENV")]:
        if re.search(r"KEY|TOKEN|PASSWORD|SECRET|CREDENTIAL", variable, re.IGNORECASE):
            yield f"a secret would stay in the image: {variable}"


def _install_problems(name: str, image: Image) -> Iterator[str]:
    locks = set()
    for command in image.commands:
        if command[0] not in PROGRAMS:
            yield f"runs {command[0]}"
        if command[0] != "pip":
            continue
        if "-r" in command:
            file = command[command.index("-r") + 1]
            locks.add(file.removeprefix("requirements/"))
            if command[3:] != ["install", "--only-binary", ":all:", "--require-hashes", "-r", file]:
                yield f"installs more than locked wheels: {command}"
        elif not {"--no-index", "--no-deps"} <= set(command):
            yield f"installs what is in no lock: {command}"
    if locks != LOCKS[name]:
        yield f"installs {sorted(locks)}"
    if any("pip" in rest for rest in image.final("RUN")):
        yield "has what installs in it"


def _copy_problems(name: str, image: Image) -> Iterator[str]:
    if image.all("ADD"):
        yield "adds what may come from anywhere"
    taken = set()
    for copied in image.all("COPY"):
        *sources, _ = copied.split()
        if sources[0].startswith("--"):
            if sources[0] != "--from=build" or not sources[1].startswith("/opt/"):
                yield f"copies {copied}"
        else:
            taken |= set(sources)
    expected = SOURCES[name] | {f"requirements/{lock}" for lock in LOCKS[name]}
    if taken != expected:
        yield f"takes {sorted(taken)} from the repository"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_image_is_made_of_locked_wheels_for_nobody_special(name: str) -> None:
    assert list(find_problems(name, load_images()[name])) == []


CHANGES = {
    "any version": (":3.13.14-slim-trixie AS build", ":3.13-slim-trixie AS build"),
    "newest": ("FROM python:3.13.14-slim-trixie\n", "FROM python\n"),
    "two bases": ("FROM python:3.13.14-slim-trixie\n", "FROM python:3.13.13-slim-trixie\n"),
    "no hashes": ("--require-hashes -r requirements/api.txt", "-r requirements/api.txt"),
    "source packages": ("--only-binary :all: --require-hashes -r", "--require-hashes -r"),
    "package beside the lock": ("-r requirements/api.txt\n", "-r requirements/api.txt\nRUN pip install boto3\n"),
    "lock of another": ("requirements/api.txt", "requirements/worker.txt"),
    "code of another": ("COPY services/api services/api", "COPY services services"),
    "whole repository": ("COPY shared/src shared/src", "COPY . ."),
    "download": ("COPY shared/src shared/src", "ADD https://example.com/shared.tar shared/src"),
    "package manager": ("RUN python", "RUN apt-get install -y curl && python"),
    "builder shipped": ("COPY --from=build /opt/coreo /opt/coreo", "COPY --from=build /build /opt/coreo"),
    "root": ("USER 10001:10001", "USER 0:0"),
    "user by name": ("USER 10001:10001", "USER coreo"),
    "no user": ("USER 10001:10001\n", ""),
    "root again": ('ENTRYPOINT ["coreo-api"]', 'USER 0:0\nENTRYPOINT ["coreo-api"]'),
    "written by its user": ("EXPOSE 8080", "RUN python -m compileall /opt/coreo\nEXPOSE 8080"),
    "shell": ('ENTRYPOINT ["coreo-api"]', "ENTRYPOINT coreo-api"),
    "secret": ("ARG REVISION=unknown", "ARG SIGNING_KEY"),
    "no health check": ("HEALTHCHECK", "LABEL"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_worse_image_shows(change: tuple[str, str]) -> None:
    text = DOCKERFILES["api"].read_text()
    assert change[0] in text

    assert list(find_problems("api", Image(text.replace(*change))))


@pytest.mark.parametrize("service", SERVICES)
def test_image_starts_its_service(service: str) -> None:
    image = load_images()[service]
    project = tomllib.loads((ROOT / "services" / service / "pyproject.toml").read_text())["project"]

    assert json.loads(image.final("ENTRYPOINT")[0])[0] in project["scripts"]
    assert json.loads(image.final("CMD")[0]) == ["serve"]


def test_images_have_one_python_that_our_code_runs_on() -> None:
    versions = {EXACT.fullmatch(base)[1] for image in load_images().values() for base in image.all("FROM")}  # type: ignore[index]  # judged above

    assert len(versions) == 1
    assert Version(versions.pop()) >= Version("3.11")


def test_database_image_is_of_the_version_under_test() -> None:
    tested = run_tool(str(_wheel_binaries() / "postgres"), "--version").stdout.split()[-1]
    image = re.search(r"image: postgres:(\d+)\.\d+-[a-z]+\n", (ROOT / "docker-compose.yml").read_text())

    assert image is not None
    assert image[1] == tested.split(".")[0]


def test_build_context_has_what_the_images_take_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]

    assert rules == [
        "*",
        "!requirements/*.txt",
        "!shared/pyproject.toml",
        "!shared/src",
        "!services/*/pyproject.toml",
        "!services/*/src",
        "!services/api/lint/pyproject.toml",
        "!services/api/lint/src",
        "!infra/cloudformation",
        "!infra/embedded/pyproject.toml",
        "!infra/embedded/src",
        "**/__pycache__",
        "**/*.egg-info",
    ]
    taken = {source for sources in SOURCES.values() for source in sources}
    assert all((ROOT / path).exists() for path in taken)


def pins(lock: str) -> dict[str, str]:
    """Version by name; each has hashes."""
    found: dict[str, str] = {}
    for block in (ROOT / "requirements" / lock).read_text().replace("\\\n", " ").splitlines():
        requirement, *hashes = block.split(" --hash=")
        assert all(re.fullmatch(r"\s*sha256:[0-9a-f]{64}\s*", item) for item in hashes), requirement
        assert hashes, requirement
        parsed = Requirement(requirement.strip())
        (specifier,) = parsed.specifier
        assert specifier.operator == "==", requirement
        found[canonicalize_name(parsed.name)] = specifier.version
    return found


@pytest.mark.parametrize(
    "lock", ["api.txt", "lint.txt", "results.txt", "worker.txt", "cli.txt", "embedded.txt", "build.txt"]
)
def test_what_is_shipped_is_what_is_tested(lock: str) -> None:
    tested = pins("dev.txt")

    assert {name: tested.get(name) for name in pins(lock)} == pins(lock)


@pytest.mark.parametrize("service", SERVICES)
def test_lock_has_what_the_service_asks_for(service: str) -> None:
    locked = pins(f"{service}.txt")

    asked = {canonicalize_name(r.name): r.specifier for r in _dependencies(f"services/{service}", "shared")}
    missing = [name for name, versions in asked.items() if name not in locked or not versions.contains(locked[name])]
    assert missing == ["coreo-shared"]  # a wheel of our own


def _dependencies(*folders: str) -> list[Requirement]:
    projects = [tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"] for folder in folders]
    return [Requirement(text) for project in projects for text in project["dependencies"]]


FORBIDDEN = {
    "worker": {"fastapi", "starlette", "uvicorn", "sqlalchemy", "asyncpg", "alembic"},
    "api": {"boto3", "backports-zstd"},
    "results": {"boto3", "httpx", "cronsim"},
}


@pytest.mark.parametrize("service", SERVICES)
def test_no_image_has_what_its_service_must_not_do(service: str) -> None:
    assert FORBIDDEN[service].isdisjoint(pins(f"{service}.txt"))
    assert FORBIDDEN[service] <= set(pins("dev.txt"))  # names of packages that others do have

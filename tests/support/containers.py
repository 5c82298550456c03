"""Reads what docker-compose.yml and the Dockerfiles allow, so that a test can hold the whole list.

Whatever compose knows of a container gives a fact, but for what only says when it starts and how much it may use: a
setting that these facts do not know cannot be added beside the list.
"""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCKERFILES = {path.name.partition(".")[0]: path for path in sorted((ROOT / "infra" / "docker").glob("*.Dockerfile"))}
Compose = dict[str, Any]

_PROGRAMS = Path(sys.executable).parent  # where `make setup` puts those of packages
_KNOWN = {"name", "services", "networks", "volumes"}
_CONTAINED = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "init": True,
}
_WHEN_AND_HOW_MUCH = (
    "restart",
    "depends_on",
    "healthcheck",
    "stop_signal",
    "stop_grace_period",
    "mem_limit",
    "shm_size",
    "pids_limit",
    "logging",
)


def run_tool(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs a program of the development environment in the repository, with nothing of the caller's environment."""
    return subprocess.run(
        [str(_PROGRAMS / command[0]), *command[1:]],
        env={"PATH": os.defpath, "HOME": "/nonexistent", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def load_compose(settings: Path, *options: str) -> Compose:
    """What compose makes of the file, with the settings that compose-init wrote into the folder `settings`."""
    command = ["docker-compose", "-f", "docker-compose.yml", "--env-file", os.devnull]
    done = run_tool(*command, "config", "--format", "json", *options, COREO_COMPOSE_DIR=str(settings))
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # it warns of what it does not understand
    compose: Compose = json.loads(done.stdout)
    return compose


@dataclass(frozen=True)
class Instruction:
    """One of a Dockerfile: its name in capitals, and the rest on one line. `stage` counts from 0."""

    stage: int
    name: str
    rest: str


class Image:
    """A Dockerfile, read as far as a test of it needs."""

    def __init__(self, text: str) -> None:
        lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
        logical = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
        self.instructions: list[Instruction] = []
        stage = -1
        for line in filter(None, map(str.strip, logical)):
            name, _, rest = line.partition(" ")
            stage += name.upper() == "FROM"
            self.instructions.append(Instruction(stage, name.upper(), rest.strip()))
        self.last_stage = stage

    def all(self, name: str) -> list[str]:
        """Of every stage."""
        return [item.rest for item in self.instructions if item.name == name]

    def final(self, name: str) -> list[str]:
        """Of the stage that is shipped."""
        return [item.rest for item in self.instructions if (item.stage, item.name) == (self.last_stage, name)]

    @property
    def user(self) -> str:
        """Whom a container runs as unless told otherwise; root where nothing is said."""
        return (self.final("USER") or ["0:0"])[-1]

    @property
    def ports(self) -> list[str]:
        """What it says to listen on."""
        return [port for ports in self.final("EXPOSE") for port in ports.split()]

    @property
    def environment(self) -> dict[str, str]:
        """What a process in it finds set."""
        pairs = (word.partition("=") for rest in self.final("ENV") for word in shlex.split(rest))
        return {name: value for name, _, value in pairs}

    @property
    def commands(self) -> list[list[str]]:
        """Every command of every RUN, in words."""
        return [shlex.split(command) for rest in self.all("RUN") for command in rest.split(" && ")]


def load_images() -> dict[str, Image]:
    """Each Dockerfile by the name of what it builds."""
    return {name: Image(path.read_text()) for name, path in DOCKERFILES.items()}


def facts(compose: Compose, images: Mapping[str, Image]) -> list[str]:
    """Sorted facts of all containers, networks and volumes."""
    found = [f"{key}: {json.dumps(compose[key])}" for key in compose if key not in _KNOWN and not key.startswith("x-")]
    for name, service in compose["services"].items():
        found += [f"{name}: {fact}" for fact in _service_facts(service, images)]
    for kind in ("networks", "volumes"):
        for name, item in compose[kind].items():
            # Two of one name are one; an empty address range is a free one.
            plain = {"name": f"{compose['name']}_{name}", "ipam": {}}
            rest = {key: value for key, value in item.items() if key not in plain or plain[key] != value}
            found.append(f"{kind[:-1]} {name}: {json.dumps(rest)}")
    return sorted(found)


def meetings(compose: Compose) -> set[frozenset[str]]:
    """Which two containers can reach each other: those that share a network."""
    services = compose["services"].items()
    return {
        frozenset((one, other))
        for (one, first), (other, second) in itertools.combinations(services, 2)
        if set(first.get("networks") or ()) & set(second.get("networks") or ())
    }


def _service_facts(service: Mapping[str, Any], images: Mapping[str, Image]) -> Iterator[str]:
    rest = {key: value for key, value in service.items() if value is not None and key not in _WHEN_AND_HOW_MUCH}
    for key, value in _CONTAINED.items():
        if rest.pop(key, None) != value:
            yield f"{key} is not {json.dumps(value)}"
    yield _image_fact(rest, images)
    networks = rest.pop("networks", {})
    yield f"networks {_listed(networks)}"
    yield from (f"network {name} with {json.dumps(more)}" for name, more in networks.items() if more is not None)
    yield f"settings {_listed(rest.pop('environment', {}))}"
    for port in rest.pop("ports", []):
        yield f"published {port.get('host_ip', '0.0.0.0')}:{port['published']} to {port['target']}"  # noqa: S104
    yield from map(_mount_fact, rest.pop("volumes", []))
    yield f"in memory {_listed(rest.pop('tmpfs', []))}"
    yield from (f"{key} {json.dumps(value)}" for key, value in rest.items())


def _mount_fact(mount: Mapping[str, Any]) -> str:
    rest = dict(mount)
    kind, source, target = rest.pop("type"), rest.pop("source", ""), rest.pop("target")
    access = "ro" if rest.pop("read_only", False) else "rw"
    if rest.get("volume") == {"nocopy": True}:
        del rest["volume"]
    more = f" {json.dumps(rest)}" if rest else ""
    return f"{kind} {source.replace(f'{ROOT}/', './')} at {target} {access}{more}"


def _image_fact(rest: dict[str, Any], images: Mapping[str, Image]) -> str:
    build = rest.pop("build", None)
    if build is None:
        return f"image {rest.pop('image')} as {rest.pop('user', '0:0')}"
    name = Path(build["dockerfile"]).name.partition(".")[0]
    image = images[name]
    known = {"context": str(ROOT), "dockerfile": str(DOCKERFILES[name].relative_to(ROOT))}
    more = "" if build == known else f" {json.dumps(build)}"
    user = rest.pop("user", image.user)
    return f"image {rest.pop('image')} as {user}, listens on {', '.join(image.ports) or 'nothing'}{more}"


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"

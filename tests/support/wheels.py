"""A folder of exactly what an image installs, made without the network: our wheels, links to locked packages."""

import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from tests.support.containers import ROOT


def locked(lock: str) -> dict[str, str]:
    """Name and version of what a lock below requirements/ has for this machine."""
    text = (ROOT / "requirements" / lock).read_text()
    requirements = [Requirement(line) for line in re.findall(r"^([a-z0-9].*?) \\$", text, re.MULTILINE)]
    return {r.name: str(r.specifier).removeprefix("==") for r in requirements if not r.marker or r.marker.evaluate()}


def build_wheel(folder: str, target: Path) -> Path:
    """Builds a distribution of ours, such as `services/api`, into the empty folder `target`."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    environment = {"PATH": os.defpath, "HOME": str(target), "XDG_RUNTIME_DIR": str(target)}
    done = subprocess.run(
        command, cwd=ROOT / folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = target.glob("*.whl")
    return wheel


def unpack(wheel: Path, site: Path) -> None:
    """Installs a wheel of ours: it has no scripts and nothing to compile."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)


def link_installed(name: str, version: str, site: Path) -> None:
    """Installs a package by links to the files that are installed in this environment, which must be of `version`."""
    distribution = importlib.metadata.distribution(name)
    assert distribution.version == version, f"{name} {distribution.version} is installed, {version} is locked"
    base = Path(str(distribution.locate_file("")))
    for part in sorted(set(_roots(distribution, base))):
        link = site / part
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(base / part)


def _roots(distribution: importlib.metadata.Distribution, base: Path) -> Iterator[Path]:
    """The files and folders that are the distribution's alone: inside a namespace package, what it puts there."""
    for file in distribution.files or ():
        parts = file.parts
        if parts[0] == "..":
            continue  # scripts
        depth = 1
        while depth < len(parts) and _is_namespace(base / Path(*parts[:depth])):
            depth += 1
        yield Path(*parts[:depth])


def _is_namespace(folder: Path) -> bool:
    return folder.suffix not in (".dist-info", ".libs") and not (folder / "__init__.py").exists() and folder.is_dir()


def run_alone(site: Path, code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs Python code with the standard library and `site`, and nothing of this environment."""
    start = f"import sys; sys.path.append({str(site)!r})\n"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", start + code, *arguments],
        env={"PATH": os.defpath},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

"""Each image's own wheels are enough for its service: nothing that only the development environment has is missing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.containers import ROOT
from tests.support.wheels import build_wheel, link_installed, locked, run_alone, unpack

SERVICES = ("api", "results", "worker")
IMPORT_ALL = """
import importlib, pathlib
site, package = pathlib.Path(sys.path[-1]), sys.argv[1]
names = [".".join(path.relative_to(site).with_suffix("").parts) for path in sorted((site / package).rglob("*.py"))]
for name in names:
    if not name.endswith((".migrations.env", "._become")):  # alembic and the launcher run these
        importlib.import_module(name.removesuffix(".__init__"))
print(len(names))
"""
RUN_SCRIPT = """
import importlib.metadata
script, = importlib.metadata.distribution(sys.argv[1]).entry_points.select(group="console_scripts")
sys.argv = [script.name, "--help"]
script.load()()
"""
# What is left out, and what then cannot be imported: a package that the service asks for, and one that those ask for.
NEEDED = [
    ("api", "alembic", "alembic"),
    ("api", "starlette", "starlette"),
    ("results", "backports-zstd", "backports"),
    ("worker", "jmespath", "jmespath"),
]
MakeSite = Callable[..., Path]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel of each distribution that is in an image."""
    folders = {"shared": "shared"} | {name: f"services/{name}" for name in SERVICES}
    return {name: build_wheel(folder, tmp_path_factory.mktemp(name)) for name, folder in folders.items()}


@pytest.fixture
def make_site(wheels: dict[str, Path], tmp_path: Path) -> MakeSite:
    """Makes what is installed in the image of a service, without one package if asked."""

    def make(service: str, *, without: str = "") -> Path:
        for wheel in (wheels["shared"], wheels[service]):
            unpack(wheel, tmp_path)
        packages = locked(f"{service}.txt")
        assert without in {"", *packages}
        for name, version in packages.items():
            if name != without:
                link_installed(name, version, tmp_path)
        return tmp_path

    return make


def files(folder: Path, base: Path | None = None) -> set[Path]:
    """What is below `folder`, as seen from `base`."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(base or folder) for path in found}


@pytest.mark.parametrize("service", SERVICES)
def test_wheel_has_every_file_of_the_service_and_nothing_else(
    service: str, wheels: dict[str, Path], tmp_path: Path
) -> None:
    for name, source in ((service, ROOT / "services" / service / "src"), ("shared", ROOT / "shared" / "src")):
        site = tmp_path / name
        unpack(wheels[name], site)

        (metadata,) = site.glob("*.dist-info")
        shutil.rmtree(metadata)
        assert files(site) == files(source / f"coreo_{name}", source)


@pytest.mark.parametrize("service", SERVICES)
def test_service_is_complete_with_its_own_wheels(service: str, make_site: MakeSite) -> None:
    site = make_site(service)

    imported = run_alone(site, IMPORT_ALL, f"coreo_{service}")
    assert imported.returncode == 0, imported.stderr
    assert int(imported.stdout) > 10

    helped = run_alone(site, RUN_SCRIPT, f"coreo-{service}")
    assert helped.returncode == 0, helped.stderr
    assert helped.stdout.startswith(f"usage: coreo-{service} ")
    assert "serve" in helped.stdout


@pytest.mark.parametrize(("service", "package", "module"), NEEDED)
def test_a_package_that_the_lock_would_forget_is_missed(
    service: str, package: str, module: str, make_site: MakeSite
) -> None:
    done = run_alone(make_site(service, without=package), IMPORT_ALL, f"coreo_{service}")

    assert done.returncode == 1
    assert f"No module named '{module}'" in done.stderr


@pytest.mark.parametrize(("service", "other"), [("api", "results"), ("results", "worker"), ("worker", "api")])
def test_a_module_of_another_service_is_missed(service: str, other: str, make_site: MakeSite) -> None:
    site = make_site(service)
    (site / f"coreo_{service}" / "_borrowed.py").write_text(f"import coreo_{other}\n")

    done = run_alone(site, IMPORT_ALL, f"coreo_{service}")

    assert done.returncode == 1
    assert f"No module named 'coreo_{other}'" in done.stderr


def test_platform_is_complete_with_its_lock(wheels: dict[str, Path], tmp_path: Path) -> None:
    unpack(wheels["shared"], tmp_path)
    for name, version in locked("embedded.txt").items():
        link_installed(name, version, tmp_path)
    shutil.copytree(
        ROOT / "infra/embedded/src/coreo_embedded",
        tmp_path / "coreo_embedded",
        # What stands in `inside` runs in the environment of the simulator, not in this one.
        ignore=shutil.ignore_patterns("__pycache__", "inside"),
    )

    imported = run_alone(tmp_path, IMPORT_ALL, "coreo_embedded")
    assert imported.returncode == 0, imported.stderr
    assert int(imported.stdout) > 10

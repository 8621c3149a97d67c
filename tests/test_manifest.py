"""npe2 finds the one manifest of the repository in every kind of build, and all that it names exists."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import npe2
import pytest
from npe2.manifest.utils import import_python_name

MANIFEST = Path(__file__).parents[1] / "napari.yaml"
INSTALLED = "napari_amil_manifest/napari.yaml"


def _python_names(node: object) -> list[str]:
    """Return every ``python_name`` in the manifest."""
    if isinstance(node, dict):
        own = [node["python_name"]] if isinstance(node.get("python_name"), str) else []
        return own + [name for value in node.values() for name in _python_names(value)]
    if isinstance(node, list):
        return [name for value in node for name in _python_names(value)]
    return []


PYTHON_NAMES = sorted(set(_python_names(npe2.PluginManifest.from_file(MANIFEST).model_dump())))


@pytest.mark.parametrize("python_name", PYTHON_NAMES)
def test_every_python_name_resolves(python_name: str) -> None:
    assert callable(import_python_name(python_name))


def test_the_installed_manifest_is_the_one_at_the_root() -> None:
    spec = importlib.util.find_spec("napari_amil_manifest")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (folder,) = spec.submodule_search_locations
    installed = Path(folder, "napari.yaml").read_bytes()
    assert installed == MANIFEST.read_bytes(), (
        "napari.yaml changed: install the package again (pip install -e .)"
    )


def test_npe2_discovers_the_plugin() -> None:
    found = npe2.PluginManifest.from_distribution("napari-amil")
    assert found.name == "napari-amil"
    assert found.contributions == npe2.PluginManifest.from_file(MANIFEST).contributions


def _hatch(folder: Path, *arguments: str) -> None:
    """Run the build backend in ``folder`` with what is installed: nothing is fetched."""
    command = [sys.executable, "-m", "hatchling", "build", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """Unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    _hatch(repository, "-t", "sdist", "-d", str(folder))
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


def _wheel(source: Path, folder: Path, target: str = "wheel") -> zipfile.ZipFile:
    _hatch(source, "-t", target, "-d", str(folder))
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_holds_the_manifest_and_all_data_files(tmp_path: Path, repository: Path) -> None:
    source = repository / "src"
    package_files = (path for path in (source / "napari_amil").rglob("*") if path.is_file())
    wanted = {
        path.relative_to(source).as_posix() for path in package_files if "__pycache__" not in path.parts
    }
    with _wheel(repository, tmp_path) as wheel:
        assert wheel.read(INSTALLED) == MANIFEST.read_bytes()
        assert wanted <= set(wheel.namelist())


def test_the_sdist_holds_the_manifest_and_builds_the_same_wheel(tmp_path: Path, sdist: Path) -> None:
    assert (sdist / "napari.yaml").read_bytes() == MANIFEST.read_bytes()
    with _wheel(sdist, tmp_path) as wheel:
        assert wheel.read(INSTALLED) == MANIFEST.read_bytes()


def test_an_editable_install_holds_the_manifest(tmp_path: Path, repository: Path) -> None:
    with _wheel(repository, tmp_path, "wheel:editable") as wheel:
        assert wheel.read(INSTALLED) == MANIFEST.read_bytes()
        links = [name for name in wheel.namelist() if name.endswith(".pth")]
        assert [wheel.read(name).decode().strip() for name in links] == [str(repository / "src")]

"""What other installers read agrees with the package: the recipe of conda, and the container file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import napari_amil

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    """The recipe with its one variable filled in, as conda-build reads it."""
    text = (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text.replace("{{ PYTHON }}", "python"))


def test_the_recipe_of_conda_needs_what_the_package_needs(
    project: dict[str, Any], recipe: dict[str, Any]
) -> None:
    wanted = []
    for line in project["dependencies"]:
        name, versions = re.fullmatch(r"([\w.-]+)(.*)", line).groups()
        wanted.append(f"{CONDA_NAMES.get(name, name)} {versions}")
    assert sorted(recipe["requirements"]["run"]) == sorted([*wanted, f"python {project['requires-python']}"])
    assert recipe["package"] == {"name": project["name"], "version": napari_amil.__version__}
    (entry,) = recipe["build"]["entry_points"]
    assert entry == f"napari-amil = {project['scripts']['napari-amil']}"


def test_the_container_installs_this_folder_and_runs_the_command(project: dict[str, Any]) -> None:
    lines = (ROOT / "Containerfile").read_text(encoding="utf-8").splitlines()
    steps = dict(line.split(" ", maxsplit=1) for line in lines if line and not line.startswith("#"))
    python = re.fullmatch(r"python:(\d+\.\d+)-slim", steps["FROM"])[1]
    assert f"Programming Language :: Python :: {python}" in project["classifiers"]
    assert steps["ENTRYPOINT"] == '["napari-amil"]'
    assert "pip install" in steps["RUN"]

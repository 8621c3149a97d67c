"""Workflows and hooks: pinned, and the same checks as tox."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github").rglob("*.yml"))


@pytest.fixture(scope="module")
def hooks() -> list[dict[str, Any]]:
    return yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]


def tox_commands(name: str) -> list[str]:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    lines = tox[f"testenv:{name}"]["commands"].replace("{posargs}", "").splitlines()
    return [line.strip() for line in lines if line.strip()]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_of_others_are_pinned_to_a_commit(path: Path) -> None:
    used = re.findall(r"uses: *(\S+)", path.read_text(encoding="utf-8"))
    loose = [u for u in used if not u.startswith("./") and not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", u)]
    assert loose == []


def test_hooks_of_others_are_pinned_to_a_commit(hooks: list[dict[str, Any]]) -> None:
    revisions = [repo["rev"] for repo in hooks if repo["repo"] != "local"]
    assert revisions
    assert [r for r in revisions if not re.fullmatch(r"[0-9a-f]{40}", r)] == []


def test_hooks_run_what_tox_runs_for_style_and_types(hooks: list[dict[str, Any]]) -> None:
    entries = {hook["entry"] for repo in hooks if repo["repo"] == "local" for hook in repo["hooks"]}
    assert set(tox_commands("lint") + tox_commands("types")) <= entries


def test_known_holes_of_dependencies_are_looked_for_every_week() -> None:
    text = (ROOT / ".github" / "workflows" / "upcoming.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    job = workflow["jobs"]["check"]
    assert "audit" in job["strategy"]["matrix"]["env"]
    assert {"run": "tox run -e ${{ matrix.env }}"} in job["steps"]
    assert re.search(r'cron: "\d+ \d+ \* \* \d"', text)
    assert tox_commands("audit") == ["pip-audit --skip-editable"]

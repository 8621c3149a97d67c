"""A command that fails says why in the JSON stream too; Ctrl-C leaves with a sentence and its own code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from napari_amil.cli import main
from napari_amil.cli.console import INTERRUPTED, Style, Talk
from napari_amil.core.base.events import Event, Step


def last_record(text: str) -> dict[str, str]:
    record: dict[str, str] = json.loads(text.splitlines()[-1])
    return record


def test_the_fatal_sentence_is_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere, out = str(tmp_path / "nowhere"), str(tmp_path / "out")
    monkeypatch.setattr("sys.argv", ["napari-amil", "score", nowhere, "--out", out, "--events", "jsonl"])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    assert end.value.code == 2
    assert last_record(said.out) == {"event": "Ended", "outcome": "failed", "reason": said.err.strip()}
    assert nowhere in said.err


def test_ctrl_c_closes_the_work_and_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    closed = []

    def work() -> Iterator[Event]:
        try:
            yield Step("images", 0, 2, "a")
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    with pytest.raises(typer.Exit) as end:
        Talk(Style.jsonl).follow(work())  # type: ignore[arg-type]
    assert end.value.exit_code == INTERRUPTED
    assert closed == [True]
    record = last_record(capsys.readouterr().out)
    assert (record["event"], record["outcome"]) == ("Ended", "cancelled")
    assert "give it again" in record["reason"]


def test_ctrl_c_outside_of_the_work_ends_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_amil.cli.scoring.settings_for", interrupted)  # while a model is loaded
    arguments = ["score", str(tmp_path), "--out", str(tmp_path / "out"), "--events", "jsonl"]
    monkeypatch.setattr("sys.argv", ["napari-amil", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    assert end.value.code == INTERRUPTED
    assert last_record(said.out) == {"event": "Ended", "outcome": "cancelled", "reason": said.err.strip()}
    assert "give it again" in said.err

"""A command that fails says why in the JSON stream too; Ctrl-C leaves with a sentence and its own code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import typer

from napari_amil.cli import main
from napari_amil.cli.console import Style, Talk
from napari_amil.core.base.events import Event, Step
from napari_amil.core.base.interrupts import INTERRUPTED
from napari_amil.core.base.locks import locked


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


def end_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str]:
    """Return exit code and standard error of a command."""
    monkeypatch.setattr("sys.argv", ["napari-amil", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["detect", "a.png", "--out", ""], "after --out"),
        (["detect", "a.png", "-o", " "], "after -o"),
        (["export", "scored", "--out="], "after --out"),
        (["detect", "", "--out", "o"], "of detect"),
        (["check", "\t"], "of check"),
    ],
)
def test_an_empty_argument_is_refused_and_is_not_this_folder(
    arguments: list[str],
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    said = end_of(monkeypatch, capsys, *arguments)
    assert said == (2, f"An argument {place} is empty; give a path or a value, or leave it out.\n")
    assert list(tmp_path.iterdir()) == []


def small_field(folder: Path) -> Path:
    PIL.Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(folder / "a.png")
    return folder / "a.png"


def test_a_folder_that_another_run_holds_is_refused_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out = small_field(tmp_path), tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr("napari_amil.core.pipeline.load_bundle", None)
    with locked(out):
        code, said = end_of(monkeypatch, capsys, "detect", image, "--out", out)
    assert (code, "is writing into" in said, str(out) in said) == (2, True, True)


def test_files_of_another_hand_are_refused_before_cells_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image, drawn = small_field(tmp_path), tmp_path / "out" / "geojson" / "a.png.geojson"
    drawn.parent.mkdir(parents=True)
    drawn.write_text("by hand")
    monkeypatch.setattr("napari_amil.core.pipeline.load_bundle", None)
    code, said = end_of(
        monkeypatch, capsys, "detect", image, "--out", tmp_path / "out", "--format", "geojson"
    )
    assert (code, "was not written by this program" in said) == (2, True), said
    assert drawn.read_text() == "by hand"


def test_where_no_image_can_be_searched_earlier_results_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    table = tmp_path / "out" / "cells.csv"
    table.parent.mkdir()
    table.write_text("image,y0,x0,y1,x1,area_px\nb.png,1,1,9,9,64\n")
    code, said = end_of(monkeypatch, capsys, "detect", tmp_path / "a.png", "--out", table.parent)
    assert (code, said.splitlines()[-1]) == (
        2,
        "No image could be searched; the reasons are listed above.",
    )
    assert "a.png" in said.splitlines()[-2]
    assert table.read_text().startswith("image,y0,x0,y1,x1,area_px\nb.png")

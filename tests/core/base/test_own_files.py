"""Results replace only what this program wrote, also after a run that was killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.own_files import refuse_foreign_files, replacing_own


def write(out: Path, **texts: str) -> None:
    with replacing_own(out) as stage:
        (stage / "labels").mkdir()
        for name, text in texts.items():
            (stage / "labels" / f"{name}.txt").write_text(text)


def contents(out: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in (out / "labels").iterdir()}


def test_own_files_are_replaced_and_those_of_another_hand_are_refused(tmp_path: Path) -> None:
    write(tmp_path, a="1", b="1")
    write(tmp_path, a="2")
    write(tmp_path, a="3", c="3")
    (tmp_path / "labels" / "drawn.txt").write_text("by hand")
    (tmp_path / "labels" / "b.txt").write_text("corrected")
    for name in ("drawn", "b"):
        with pytest.raises(
            AmilError, match=rf"labels/{name}\.txt' was not written by this program, or was ch"
        ):
            write(tmp_path, **{"a": "4", name: "4"})
    assert contents(tmp_path) == {"a": "3", "b": "corrected", "c": "3", "drawn": "by hand"}


def test_a_run_that_was_killed_while_it_replaced_files_can_be_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, a="1", b="1", c="1")
    replace, unlink = Path.replace, Path.unlink

    def dying(self: Path, target: Path) -> Path:
        if target.name == "c.txt":
            raise KeyboardInterrupt
        return replace(self, target)

    def dying_first(self: Path, missing_ok: bool = False) -> None:
        if self == tmp_path / "labels" / "c.txt":
            raise KeyboardInterrupt
        unlink(self, missing_ok)

    for text, name, method in (
        ("2", "unlink", dying_first),
        ("3", "unlink", dying_first),
        ("4", "replace", dying),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, method)
            with pytest.raises(KeyboardInterrupt):
                write(tmp_path, a=text, b=text, c=text)
    assert contents(tmp_path) == {"a": "4", "b": "4"}
    write(tmp_path, a="5", b="5", c="5")
    assert contents(tmp_path) == {"a": "5", "b": "5", "c": "5"}


def test_a_damaged_list_vouches_for_nothing(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    (listed,) = tmp_path.glob(".napari-amil-*")
    for damaged in ("[]", json.dumps({"labels/a.txt": 3})):
        listed.write_text(damaged)
        with pytest.raises(AmilError, match=r"a\.txt' was not written by this program"):
            refuse_foreign_files(tmp_path, [Path("labels/a.txt")])

"""Files are replaced in one step or together; every reader refuses at once what is no regular file."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from napari_amil.core.base import files
from napari_amil.core.base.checkpoint import read_checkpoint
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import read_json, regular_file, replacing, replacing_together
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.tables import read_table
from napari_amil.core.base.tensorfile import write_tensors
from napari_amil.core.detection.network import build_detector, load_coco_weights
from napari_amil.core.evaluation.ablation import read_rows
from napari_amil.core.exchange.box_files import read_shapes, read_voc
from napari_amil.core.exchange.cell_files import read_cells
from napari_amil.core.exchange.geojson import read_geojson
from napari_amil.core.exchange.labels import read_label_image
from napari_amil.core.exchange.tables import load_table
from napari_amil.core.images.fields import open_field
from napari_amil.core.images.read import n_pages, read_image
from napari_amil.core.model.bundle import load_bundle
from napari_amil.core.model.card import read_card

needs_pipes = pytest.mark.skipif(os.name == "nt", reason="named pipes have no path on Windows")


def _open_field(path: Path) -> None:
    with open_field(path):
        pass


READERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "image": (read_image, "field.png"),
    "field": (_open_field, "field.tif"),
    "pages": (n_pages, "field.tif"),
    "table": (read_table, "cells.csv"),
    "parquet": (load_table, "cells.parquet"),
    "json": (read_json, "cells.json"),
    "geojson": (read_geojson, "cells.geojson"),
    "cells": (read_cells, "cells.csv"),
    "shapes": (read_shapes, "shapes.csv"),
    "voc": (read_voc, "field.xml"),
    "labels": (read_label_image, "field_labels.png"),
    "settings": (RunSettings.from_yaml, "run.yaml"),
    "rows": (read_rows, "rows.yaml"),
    "card": (read_card, "bundle.safetensors"),
    "bundle": (load_bundle, "bundle.safetensors"),
    "checkpoint": (read_checkpoint, "checkpoint.safetensors"),
    "weights": (lambda path: load_coco_weights(build_detector("light"), path), "coco.pth"),
}


@needs_pipes
@pytest.mark.parametrize("name", READERS)
def test_a_named_pipe_and_a_folder_are_refused_at_once(name: str, tmp_path: Path) -> None:
    read, filename = READERS[name]
    pipe, folder = tmp_path / filename, tmp_path / "folder" / filename
    os.mkfifo(pipe)
    folder.mkdir(parents=True)
    with pytest.raises(AmilError, match=r"is a named pipe, not a file; give an? (image )?file\.$") as refused:
        read(pipe)
    assert str(pipe) in str(refused.value)
    with pytest.raises(AmilError, match="is a folder, not a file"):
        read(folder)


@needs_pipes
def test_devices_and_sockets_are_refused_and_files_and_nothing_are_not(tmp_path: Path) -> None:
    with pytest.raises(AmilError, match="'/dev/null' is a device, not a file"):
        regular_file(Path("/dev/null"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(AmilError, match="is a socket"):
            regular_file(tmp_path / "s")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for path in (tmp_path / "file", tmp_path / "link", tmp_path / "nothing"):
        assert regular_file(path) == path


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_two_writers_of_one_file_never_mix(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"

    def write(letter: str) -> None:
        with replacing(target) as partial, partial.open("w") as stream:
            for _ in range(2000):
                stream.write(letter)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, "abcdabcd"))
    assert len(set(target.read_text())) == 1
    assert len(target.read_text()) == 2000
    assert names_in(tmp_path) == {"table.csv"}


def test_after_an_error_the_old_file_stands(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail() -> None:
        with replacing(target) as partial:
            partial.write_text("new")
            raise OSError(28, "No space left on device")

    with pytest.raises(AmilError, match=r"a\.txt'.*No space left on device; check the folder"):
        fail()
    assert target.read_text() == "old"
    assert names_in(tmp_path) == {"a.txt"}


def test_a_file_is_on_the_disk_before_it_is_switched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, switch = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (order.append("sync"), sync(number)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("switch"), switch(a, b)))
    with replacing(tmp_path / "a.txt") as partial:
        partial.write_text("new")
    assert order[:2] == ["sync", "switch"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_umask_decides_who_may_read(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_tensors({"a": torch.zeros(2)}, {}, tmp_path / "a.safetensors")
        with replacing(tmp_path / "a.txt") as partial:
            partial.write_text("new")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


def test_leftovers_of_ended_processes_are_removed_and_those_of_others_stay(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    host = files._temporary(tmp_path).name.split("-")[2]
    old = tmp_path / f".napari-amil-{host}-{ended.pid}-00ff.partial"
    old_folder = tmp_path / f".napari-amil-{host}-{ended.pid}-00fe.partial"
    alive = tmp_path / f".napari-amil-{host}-{os.getpid()}-00ff.partial"
    elsewhere = tmp_path / f".napari-amil-abcdef-{ended.pid}-00ff.partial"
    for path in (old, alive, elsewhere):
        path.touch()
    old_folder.mkdir()
    (old_folder / "a.csv").touch()
    with replacing(tmp_path / "a.txt") as partial:
        partial.write_text("new")
    assert names_in(tmp_path) == {"a.txt", alive.name, elsewhere.name}


class Killed(BaseException):
    """Stands for the end of the process."""


def test_files_of_two_generations_never_lie_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = os.replace
    for kill_at in range(4):
        folder = tmp_path / str(kill_at)
        for generation in ("old", "new"):
            left = iter(range(kill_at if generation == "new" else 99))

            def replace(a: Path, b: Path, left: Iterator[int] = left) -> None:
                if next(left, None) is None:
                    raise Killed
                switch(a, b)

            monkeypatch.setattr(os, "replace", replace)
            try:
                with replacing_together(folder, last=("card",), outdated=("metrics",)) as stage:
                    (stage / "sub").mkdir()
                    for name in ("card", "cells", "sub/bags", *(["metrics"] if generation == "old" else [])):
                        (stage / name).write_text(generation)
            except Killed:
                pass
        found = {path.read_text() for path in folder.rglob("*") if path.is_file()}
        assert len(found) <= 1, kill_at
        assert (folder / "card").exists() == (kill_at == 3)
        assert not (folder / "metrics").exists()
        assert not list(folder.glob(".napari*"))


def test_an_error_before_the_switch_leaves_the_old_files(tmp_path: Path) -> None:
    (tmp_path / "card").write_text("old")

    def fail() -> None:
        with replacing_together(tmp_path, last=("card",)) as stage:
            (stage / "card").write_text("new")
            raise AmilError("No bag could be scored.")

    with pytest.raises(AmilError):
        fail()
    assert names_in(tmp_path) == {"card"}
    assert (tmp_path / "card").read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_planted_at_a_temporary_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, token = tmp_path / "victim", "0" * 12
    victim.write_text("mine")
    monkeypatch.setattr(secrets, "token_hex", lambda _: token)
    with replacing(tmp_path / "a") as first:
        name = first.name
    (tmp_path / name).symlink_to(victim)
    with pytest.raises(AmilError, match="File exists"), replacing(tmp_path / "a") as partial:
        partial.write_text("theirs")
    assert victim.read_text() == "mine"

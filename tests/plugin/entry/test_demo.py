from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread

from napari_amil.core.base.errors import AmilError
from napari_amil.core.cohort import samples
from napari_amil.plugin.entry import demo
from napari_amil.plugin.entry import demo as _display
from napari_amil.plugin.entry import menus as _samples


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def test_a_missing_image_is_one_sentence_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--image", "/no/such.png", "--screenshot", "x.png"]) == 2
    assert capsys.readouterr().err == "There is no image file '/no/such.png'; check the path.\n"


def test_a_missing_folder_for_the_picture_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--screenshot", "/no/such/folder/x.png"]) == 2
    assert "There is no folder '/no/such/folder'" in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
def test_without_a_display_it_asks_for_a_picture(
    no_display: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main([]) == 2
    assert "add --screenshot FILE.png" in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Xvfb is a matter of Linux")
def test_without_xvfb_the_system_package_is_named(
    no_display: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert demo.main(["--screenshot", str(tmp_path / "x.png")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "apt-get install -y xvfb" in said


def test_without_a_qt_binding_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "BINDINGS", ("no_such_binding",))
    assert demo.main([]) == 2
    assert "napari-amil[all]" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed")
def test_a_display_is_made_and_ends_with_its_block(no_display: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    if _display.missing_packages():
        pytest.skip("libraries of the window are missing here")
    with _display.some_display(640, 480):
        assert os.environ["DISPLAY"].startswith(":")
        assert os.environ["QT_QPA_PLATFORM"] == "xcb"
        number = os.environ["DISPLAY"][1:]
        assert Path(f"/tmp/.X11-unix/X{number}").exists()
    assert "DISPLAY" not in os.environ
    assert os.environ["QT_QPA_PLATFORM"] == "offscreen"
    assert not Path(f"/tmp/.X11-unix/X{number}").exists()


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed")
def test_the_window_is_drawn_with_its_scored_cells(tmp_path: Path) -> None:
    if _display.missing_packages():
        pytest.skip("libraries of the window are missing here")
    picture = tmp_path / "window.png"
    hidden = ("DISPLAY", "WAYLAND_DISPLAY")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, "-m", "napari_amil.plugin.entry.demo", "--screenshot", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "cells; the most unusual: Cell" in done.stdout
    pixels = imread(picture)
    assert pixels.shape[:2] == (768, 1366)
    assert np.ptp(pixels[300:500, 500:900, 0]) > 100


def test_a_display_that_is_there_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setenv("QT_QPA_PLATFORM", "")
    with _display.some_display(640, 480):
        assert os.environ["DISPLAY"] == ":7"


def test_the_made_up_smear_opens_as_one_rgb_layer() -> None:
    ((pixels, attributes, kind),) = _samples.synthetic_smear()
    assert kind == "image"
    assert attributes["rgb"]
    assert pixels.shape[2] == 3


def test_the_real_smear_is_the_publishers_file_and_comes_with_its_licence() -> None:
    ((pixels, attributes, _),) = _samples.real_smear()
    assert pixels.shape == (480, 640, 3)
    assert attributes["name"] == "Chula 4.jpg"
    folder = Path(samples.__file__).parent / "sample"
    assert hashlib.sha256((folder / "chula-4.jpg").read_bytes()).hexdigest() == samples.REAL_SHA256
    assert "MIT License" in (folder / "LICENSE.txt").read_text(encoding="utf-8")


def test_an_image_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(AmilError, match=r"broken\.png' cannot be opened"):
        demo.window.open_field(ViewerModelForFiles(), broken)


class ViewerModelForFiles:
    """Opens files the way a viewer does, without one."""

    def open(self, path: str, plugin: str) -> list[object]:
        raise OSError(path)

"""Open napari with a smear; find, score and colour its cells: ``python -m napari_amil.plugin.entry.demo``."""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import lazy_loader

from napari_amil.core.base.errors import AmilError

_START_S = 20.0
_WITHOUT_OPENGL = {"offscreen", "minimal", "vnc"}
_LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libfontconfig.so.1": "libfontconfig1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
}
"""Libraries that Qt needs on Debian or Ubuntu, and the package of each."""
window = lazy_loader.load("napari_amil.plugin.entry.demo_window", suppress_warning=True)
BINDINGS = ("PyQt6", "PySide6", "PyQt5")
_ROOM = 2
"""A screen made for a picture is larger than the window, since napari shrinks one that fills the screen."""
UNUSABLE = 2
"""Exit code of a demo that could not be shown."""


def has_display() -> bool:
    """Return whether a window with OpenGL can be opened here."""
    if not sys.platform.startswith("linux"):
        return True
    shown = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return shown and os.environ.get("QT_QPA_PLATFORM", "") not in _WITHOUT_OPENGL


@contextmanager
def some_display(width: int, height: int) -> Iterator[None]:
    """Provide a display: the one that is there, else an Xvfb of this size that ends with the block.

    Raises
    ------
    AmilError
        If Xvfb or a library that the window needs is missing; names the system packages.
    """
    if has_display():
        yield
        return
    packages = missing_packages()
    if packages:
        raise AmilError(
            f"To draw the window without a display, the system packages {' '.join(packages)} are missing; on "
            f"Debian or Ubuntu run: apt-get install -y {' '.join(packages)}"
        )
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp"]
    before = {name: os.environ.get(name) for name in ("DISPLAY", "QT_QPA_PLATFORM")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout is not None
            os.environ["DISPLAY"] = f":{_display_number(server.stdout)}"
            os.environ["QT_QPA_PLATFORM"] = "xcb"
            yield
        finally:
            server.terminate()
            for name, value in before.items():
                os.environ.pop(name, None)
                os.environ.update({} if value is None else {name: value})


def missing_packages() -> list[str]:
    """Return the system packages that a window without a display needs and that are not here."""
    missing = [] if shutil.which("Xvfb") else ["xvfb"]
    for library, package in _LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(package)
    return missing


def _display_number(pipe: IO[bytes]) -> int:
    readable, _, _ = select.select([pipe], [], [], _START_S)
    line = pipe.readline().strip() if readable else b""
    if not line.isdigit():
        raise AmilError("The X server Xvfb did not start; free some memory or /tmp, or use a real display.")
    return int(line)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code: 0, or 2 with one sentence on standard error."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        width, height = options.size
        with some_display(width * _ROOM, height * _ROOM):
            if options.screenshot is not None:
                _use_fresh_settings()
            message: str = window.run(
                options.image, options.screenshot, options.theme, (width, height), options.front
            )
    except AmilError as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE
    if message:
        sys.stdout.write(f"{message}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="napari-amil demo", description="The window with a scored smear.")
    parser.add_argument("--image", type=Path, help="a field of your own (PNG, JPEG or TIFF)")
    parser.add_argument("--screenshot", type=Path, help="save a picture of the window here, and end")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark", help="colours of the window")
    parser.add_argument(
        "--front", choices=("smear", "card", "verdict"), default="smear", help="panel in front on the right"
    )
    parser.add_argument("--size", type=_size, default=(1366, 768), help="size of the window, 1366x768")
    return parser


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def _check(options: argparse.Namespace) -> None:
    """Refuse early what cannot work, before anything heavy is loaded."""
    if not any(importlib.util.find_spec(name) for name in BINDINGS):
        raise AmilError("There is no Qt here to draw windows: run python -m pip install 'napari-amil[all]'.")
    if options.image is not None and not options.image.is_file():
        raise AmilError(f"There is no image file '{options.image}'; check the path.")
    if options.screenshot is None and not has_display():
        raise AmilError("There is no display here; add --screenshot FILE.png to get a picture of the window.")
    if options.screenshot is not None and not options.screenshot.resolve().parent.is_dir():
        raise AmilError(f"There is no folder '{options.screenshot.parent}' for the picture; make it first.")


def _use_fresh_settings() -> None:
    """Make the picture independent of this user's napari preferences, and leave those alone."""
    folder = tempfile.mkdtemp(prefix="napari-amil-settings-")
    os.environ["NAPARI_CONFIG"] = str(Path(folder, "settings.yaml"))
    os.environ["XDG_CONFIG_HOME"] = folder


if __name__ == "__main__":
    sys.exit(main())

"""A display where there is none: on Linux an X server without a screen, for pictures of the window."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

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
"""What Qt's own files need from a Debian or Ubuntu system, and the package that has it."""


def has_display() -> bool:
    """Tell whether a window with OpenGL can be opened here."""
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

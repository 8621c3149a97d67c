"""Open napari with a smear; find, score and colour its cells: ``python -m napari_amil.plugin.entry.demo``.

With ``--screenshot FILE`` the window is drawn (without a display in an Xvfb of its own), saved and closed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import lazy_loader

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.entry.display import has_display, some_display

window = lazy_loader.load("napari_amil.plugin.entry.demo_window", suppress_warning=True)

BINDINGS = ("PyQt6", "PySide6", "PyQt5")
_ROOM = 2
"""A screen made for a picture is larger than the window, since napari shrinks one that fills the screen."""
UNUSABLE = 2
"""Exit code of a demo that could not be shown."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code: 0, or 2 with one sentence on standard error."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        width, height = options.size
        with some_display(width * _ROOM, height * _ROOM):
            if options.screenshot is not None:
                _use_fresh_settings()
            said: str = window.run(
                options.image, options.screenshot, options.theme, (width, height), options.front
            )
    except AmilError as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE
    if said:
        sys.stdout.write(f"{said}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="napari-amil demo", description="The window with a scored smear.")
    parser.add_argument("--image", type=Path, help="a field of your own (PNG, JPEG or TIFF)")
    parser.add_argument("--screenshot", type=Path, help="save a picture of the window here, and end")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark", help="colours of the window")
    parser.add_argument(
        "--front", choices=("score", "verdict"), default="score", help="panel in front on the right"
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

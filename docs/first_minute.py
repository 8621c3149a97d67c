"""The first minute with a smear as a strip of pictures: ``python docs/first_minute.py OUT.jpg``.

In a real window of 1366 x 768 pixels a person opens the smear that comes with the program, or the one that
``--image`` names, presses *Find and score*, goes to a cell of the list and asks why it is unusual.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from napari.settings import get_settings
from panel_windows import Window
from PIL import Image, ImageDraw, ImageFont

from napari_amil.plugin.entry.demo import some_display
from napari_amil.plugin.window.docks import open_panel
from napari_amil.plugin.window.panel import SMEAR_TITLE

STEPS = (
    "1  Plugins, AMIL blood smears, Look at a smear: it says how to begin",
    "2  An image is open: one press is left",
    "3  The verdict, the cells in the order of their unusualness, and the most unusual one, chosen",
    "4  Why this cell? The Cell card has its measurements and the control cells it is most like",
)
_SHOWN_PX, _CAPTION_PX, _QUALITY = (830, 467), 26, 78


def main(arguments: Sequence[str] | None = None) -> int:
    """Save the strip."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the picture")
    parser.add_argument("--theme", default="light")
    parser.add_argument("--image", type=Path, help="another smear than the one that comes with the program")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, some_display(2732, 1536):
        get_settings(Path(folder, "settings.yaml"))  # the settings of whoever runs this stay as they are
        os.environ["XDG_CONFIG_HOME"] = folder
        shots = [Path(folder, f"{number}.png") for number in range(len(STEPS))]
        _film(Window(None, None), options, shots)
        _strip(shots, options.out)
    return 0


def _film(window: Window, options: argparse.Namespace, shots: Sequence[Path]) -> None:
    """Do what a person does, and take a picture of every step."""
    window.viewer.theme = options.theme
    smear = open_panel(window.viewer, SMEAR_TITLE)
    window.take(shots[0])
    if options.image is None:
        smear.sample.click()
    else:
        smear.open_image(str(options.image))
    window.rest(1.0)
    window.take(shots[1])
    scored: list[object] = []
    smear.finished.connect(scored.append)
    smear.errored.connect(scored.append)
    smear.job.button.click()
    window.wait(lambda: bool(scored))
    smear.cells.list.setCurrentRow(0)
    window.viewer.reset_view()
    window.take(shots[2])
    card = open_panel(window.viewer, "Cell card")
    window.rest(1.5)
    window.wait(lambda: card.picture.has_picture)
    window.take(shots[3])
    window.close()


def _strip(shots: Sequence[Path], target: Path) -> None:
    """Save the pictures two by two, each below a line that says what was done."""
    width, height = _SHOWN_PX
    whole = Image.new("RGB", (2 * width, len(shots) // 2 * (height + _CAPTION_PX)), "white")
    drawing = ImageDraw.Draw(whole)
    for number, (shot, words) in enumerate(zip(shots, STEPS, strict=True)):
        x, y = number % 2 * width, number // 2 * (height + _CAPTION_PX)
        drawing.text((x + 6, y + 5), words, "black", ImageFont.load_default(15))
        with Image.open(shot) as picture:
            small = picture.convert("RGB").resize(_SHOWN_PX, Image.Resampling.LANCZOS)
        whole.paste(small, (x, y + _CAPTION_PX))
    whole.save(target, quality=_QUALITY, optimize=True)


if __name__ == "__main__":
    sys.exit(main())

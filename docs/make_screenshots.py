"""Draw the pictures of the window that the documentation shows: ``python docs/make_screenshots.py``.

The real field is ``chula_slides/images/4.jpg`` in the folder that ``NAPARI_AMIL_DATA`` names, else the
publishers' file. The networks are those of the starter model, so that anybody gets the same pictures.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from skimage.io import imsave

from napari_amil.core.cohort.samples import REAL_FILE, real_field

IMAGES = Path(__file__).parent / "images"
TRAINING = {"train-dark.png": ["--theme", "dark"], "train-done-light.png": ["--theme", "light", "--done"]}
PANELS = ("detect", "gallery", "correct", "types", "calibrate", "arrange")
"""Panels of which ``panel_windows.py`` makes a picture called ``<panel>-dark.png``."""
PICTURES = {
    "window-dark.png": ("dark", "smear"),
    "window-light.png": ("light", "smear"),
    "card-dark.png": ("dark", "card"),
    "verdict-dark.png": ("dark", "verdict"),
}


def main() -> int:
    """Write every picture and return 0, or the exit code of the first that failed."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        field = Path(folder, REAL_FILE).with_suffix(".png")
        imsave(field, real_field(), check_contrast=False)
        for name, (theme, front) in PICTURES.items():
            demo = [
                sys.executable,
                "-P",
                "-m",
                "napari_amil.plugin.entry.demo",
                "--image",
                str(field),
                "--theme",
                theme,
            ]
            demo += ["--front", front, "--screenshot", str(IMAGES / name)]
            code = subprocess.run(demo, check=False).returncode
            if code:
                return code
    script = Path(__file__).with_name("panel_windows.py")
    panels = [sys.executable, str(script), str(IMAGES), "--themes", "dark", "--panels", *PANELS]
    code = subprocess.run(panels, check=False).returncode
    if code:
        return code
    for name, options in TRAINING.items():
        script = Path(__file__).with_name("train_window.py")
        code = subprocess.run(
            [sys.executable, str(script), str(IMAGES / name), *options], check=False
        ).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())

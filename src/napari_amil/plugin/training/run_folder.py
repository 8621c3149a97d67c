"""Where the folder of the next run lies."""

from __future__ import annotations

import os
import time
from itertools import count
from pathlib import Path

from napari_amil.plugin.training.run_registry import user_folder


def fresh_folder(cohort: Path) -> Path:
    """Return a folder that does not exist yet: beside the cohort, or with the user's own files.

    It never lies inside the cohort, whose folders are its classes; a cell list lies in the folder of its
    images.
    """
    root = cohort.absolute() if cohort.is_dir() else cohort.absolute().parent
    name = f"{root.name}-runs"
    base = root.parent if os.access(root.parent, os.W_OK) else user_folder()
    day = time.strftime("%Y-%m-%d")
    return next(path for number in count(1) if not (path := base / name / f"{day}-{number}").exists())

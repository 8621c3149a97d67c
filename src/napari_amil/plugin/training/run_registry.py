"""The list of runs that this user's windows know, so that a new window finds what an old one started."""

from __future__ import annotations

import json
from pathlib import Path

from qtpy.QtCore import QStandardPaths

from napari_amil.core.base.errors import AmilError

_FILE = "runs.json"


def user_folder() -> Path:
    """Return the folder in which this program keeps what belongs to the user."""
    base = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation)
    return Path(base or Path.home(), "napari-amil")


class RunRegistry:
    """Run folders, the latest first, kept in ``runs.json``.

    Parameters
    ----------
    folder
        Where the list is kept; None for the user's own folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = (folder or user_folder()) / _FILE

    def folders(self) -> list[Path]:
        """Return the run folders; a list that is missing or damaged is empty."""
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
            return [Path(str(folder)) for folder in known]
        except (OSError, ValueError, TypeError):
            return []

    def add(self, folder: Path) -> None:
        """Put a run first; what another window added meanwhile stays.

        Raises
        ------
        AmilError
            If the list cannot be written.
        """
        folder = folder.absolute()
        self._write([folder, *(known for known in self.folders() if known != folder)])

    def remove(self, folder: Path) -> None:
        """Forget a run; its folder stays."""
        self._write([known for known in self.folders() if known != folder])

    def _write(self, folders: list[Path]) -> None:
        partial = self._file.with_suffix(".partial")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps([str(folder) for folder in folders], indent=2), encoding="utf-8")
            partial.replace(self._file)
        except OSError as error:
            raise AmilError(
                f"The list of runs '{self._file}' cannot be written ({error.strerror}); the training goes "
                "on, but a new window will not find it by itself: open its folder there."
            ) from error

"""Choices of the user: napari's preferences of this plugin, and values kept between sessions."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from napari.settings import get_plugin_settings
from qtpy.QtCore import QSettings

PLUGIN = "napari-amil"
Value = TypeVar("Value", bool, int, float, str)
_FOLDER = "folder"


def preference(group: str, name: str, default: Value) -> Value:
    """Return a setting of the manifest's ``configurations``; ``default`` where napari knows none."""
    try:
        found = getattr(getattr(get_plugin_settings(PLUGIN), group), name)
    except (KeyError, AttributeError):
        return default
    return found if isinstance(found, type(default)) else default


def remembered(name: str, default: Value) -> Value:
    """Return the stored choice under ``name``; ``default`` where none fits."""
    found = _kept().value(name)
    if found is None:
        return default
    try:
        if isinstance(default, bool):
            return type(default)(str(found).lower() in {"true", "1"})
        return type(default)(found)
    except (TypeError, ValueError):
        return default


def remember(name: str, value: Value) -> None:
    """Keep ``value`` under ``name``."""
    _kept().setValue(name, value)


def remembered_list(name: str) -> list[str]:
    """Return the texts that are kept under ``name``, the latest first."""
    return [text for text in remembered(name, "").split("\n") if text]


def remember_first(name: str, text: str, most: int = 8) -> None:
    """Put ``text`` first among the texts under ``name``, of which the latest ``most`` are kept."""
    others = [other for other in remembered_list(name) if other != text]
    remember(name, "\n".join([text, *others][:most]))


def last_folder() -> str:
    """Return the folder from which the last file was chosen; empty where it is gone."""
    folder = remembered(_FOLDER, "")
    return folder if folder and Path(folder).is_dir() else ""


def remember_folder(path: str | Path) -> None:
    """Keep the folder in which ``path`` lies."""
    remember(_FOLDER, str(Path(path).parent))


def _kept() -> QSettings:
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-amil", "window")

"""What the user set for this plugin under File > Preferences."""

from __future__ import annotations

from typing import TypeVar

from napari.settings import get_plugin_settings

PLUGIN = "napari-amil"
Value = TypeVar("Value", bool, int, float, str)


def preference(group: str, name: str, default: Value) -> Value:
    """Return a setting of the manifest's ``configurations``; ``default`` where napari knows none."""
    try:
        found = getattr(getattr(get_plugin_settings(PLUGIN), group), name)
    except (KeyError, AttributeError):
        return default
    return found if isinstance(found, type(default)) else default

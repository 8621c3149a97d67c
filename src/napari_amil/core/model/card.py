"""Header of a bundle: its settings and its card, read without torch."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors

from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.files import decoding
from napari_amil.core.base.settings import RunSettings

FORMAT = "napari-amil bundle"
FORMAT_VERSION = 3
OLDER_VERSION = "2"
"""Format version that is read too (`napari_amil.core.model.format_2`)."""


def starter_path() -> Path:
    """Return the path of the bundle that ships with the program."""
    return Path(str(resources.files("napari_amil") / "starter" / "starter.safetensors"))


def read_card(path: Path) -> dict[str, Any]:
    """Return header and card of a bundle without reading its tensors.

    Raises
    ------
    BundleError
        If the file is missing, not a bundle, of another format version, or its header is damaged.
    """
    return read_header(path)[1]


def read_header(path: Path) -> tuple[str, dict[str, Any]]:
    """Return format version and header of a bundle."""
    with (
        decoding(path, "cannot be read as a bundle", "copy or export it again", BundleError),
        safetensors.safe_open(path, framework="numpy") as stored,
    ):
        metadata = stored.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise BundleError(
            f"'{path}' is a safetensors file but no bundle of napari-amil; choose another file."
        )
    version = metadata.get("format_version", "")
    if version not in {OLDER_VERSION, str(FORMAT_VERSION)}:
        raise BundleError(
            f"The bundle '{path}' has format version '{version}', but this program reads {OLDER_VERSION} and "
            f"{FORMAT_VERSION}; install the version of napari-amil that made it."
        )
    try:
        header = json.loads(metadata.get("bundle", ""))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"The header of the bundle '{path}' is damaged ({error}); copy it anew.") from error
    if not isinstance(header, dict) or not {"settings", "card"} <= header.keys():
        raise BundleError(f"The header of the bundle '{path}' has no settings or no card; copy it anew.")
    model = header["settings"].get("model") if isinstance(header["settings"], dict) else None
    if isinstance(model, dict):
        model.setdefault("colour", True)  # bundles from older versions saw colours, and do not say so
    return version, header


def bundle_settings(path: Path | None = None) -> RunSettings:
    """Return the settings that a bundle, or the starter bundle, was trained with.

    Raises
    ------
    BundleError
        As `read_card`.
    SettingsError
        If they cannot be used.
    """
    return RunSettings.parse(read_header(path or starter_path())[1]["settings"])

"""Errors whose message is one sentence with the fault and its remedy."""

from __future__ import annotations


class AmilError(Exception):
    """Any failure that a user can act on; its message is shown as it is."""


class ImageError(AmilError):
    """An image cannot be read or used."""


class CohortError(AmilError):
    """A cohort folder or table does not describe usable bags."""


class BundleError(AmilError):
    """A model bundle cannot be read, or does not fit its task."""


class SettingsError(AmilError):
    """A setting has a value that cannot work."""


class DeviceError(AmilError):
    """The wanted device is missing or ran out of memory."""


class MissingExtraError(AmilError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This needs the package '{package}': install it with "
            f"python -m pip install 'napari-amil[{extra}]'."
        )

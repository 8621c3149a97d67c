"""Agree with the detector on the scale of a field, and warn where the two disagree."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace

import torch
from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.events import Event, Warned
from napari_amil.core.base.types import Cells
from napari_amil.core.detection.network_input import NetworkInput
from napari_amil.core.detection.scale import find_diameter, given_doubt, same_scale
from napari_amil.core.instances.field_blocks import PreparedField


def agreed_scale(
    detector: MaskRCNN, seen: PreparedField, reason: str, device: torch.device
) -> Generator[Event, None, tuple[PreparedField, str]]:
    """Return a field at the scale that the detector agrees with, itself where that is its own, and a note.

    Parameters
    ----------
    detector
        The network that judges.
    seen
        The field at the scale in doubt.
    reason
        Reason for the doubt, a clause for the warning.
    device
        Device of the network.
    """
    before = seen.view.diameter_px
    found = yield from find_diameter(detector, seen.view, device)
    if found is None:
        return seen, (
            f"The diameter of the cells is uncertain: {before:.0f} px is assumed, but {reason}. Measure one "
            "cell and give its diameter (--diameter on the command line)."
        )
    if same_scale(found.diameter_px, seen.view):
        return seen, ""
    note = (
        f"The cells are taken for {found.diameter_px:.0f} px in diameter, not {before:.0f} px as estimated "
        f"first ({reason}). Give the diameter if that is wrong."
    )
    return replace(seen, view=seen.view.at_diameter(found.diameter_px)), note


def warn_of_given_diameter(cells: Cells, view: NetworkInput) -> Iterator[Event]:
    """Warn if the cells found are far from the diameter that the user gave."""
    reason = given_doubt(cells, view)
    if reason:
        yield Warned(
            f"The cell diameter is set to {view.diameter_px:.0f} px, but {reason}; check it, or leave it "
            "empty to have it estimated."
        )

"""The loop over control cells: checkpoints, stop, determinism, refusals; and the pictures that it yields."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_amil.core.anomaly.reconstruction.cell_images import CellImages, augmented
from napari_amil.core.anomaly.reconstruction.network_settings import NetworkSettings
from napari_amil.core.anomaly.reconstruction.network_training import TrainingFiles, epochs_of
from napari_amil.core.anomaly.reconstruction.ra import Ra
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.errors import AmilError, SettingsError
from napari_amil.core.base.events import EpochReport, Event, Warned, drain
from napari_amil.core.base.settings import ModelSettings

TINY: dict[str, Any] = {"size_px": 16, "widths": [4, 8], "latent_dim": 3, "batch_size": 16, "epochs": 3}
TINY |= {"vae_share": 0.0}


def trained(cells: CellInputs, files: TrainingFiles, said: list[Event] | None = None, **changes: Any) -> Ra:
    scorer = Ra(ModelSettings(networks={"ra": TINY | changes}))
    scorer.files = files
    drain(scorer.fit(cells, 0, torch.device("cpu")), None if said is None else said.append)
    return scorer


def test_a_training_that_goes_on_ends_with_the_same_weights(
    control_cells: Callable[..., CellInputs], tmp_path: Path
) -> None:
    cells, stop = control_cells(), tmp_path / "stop"
    whole, events = trained(cells, TrainingFiles()), list[Event]()
    stop.touch()
    files = TrainingFiles(tmp_path / "checkpoint.safetensors", stop)
    trained(cells, files, events)
    assert [e.epoch for e in events if isinstance(e, EpochReport)] == [0]
    assert "stopped after 1 of 3 epochs" in next(e.message for e in events if isinstance(e, Warned))
    stop.unlink()
    events.clear()
    again = trained(cells, files, events)
    assert [e.epoch for e in events if isinstance(e, EpochReport)] == [1, 2]
    np.testing.assert_array_equal(again.score(cells), whole.score(cells))


def test_losses_are_reported_for_every_epoch(control_cells: Callable[..., CellInputs]) -> None:
    events = list[Event]()
    trained(control_cells(), TrainingFiles(), events)
    reports = [event for event in events if isinstance(event, EpochReport)]
    assert [(r.epoch, r.n_epochs) for r in reports] == [(0, 3), (1, 3), (2, 3)]
    assert reports[2].metrics["ra_reconstruction"] < reports[0].metrics["ra_reconstruction"]
    assert {"ra_decoder", "ra_embedding"} < reports[0].metrics.keys()


def test_the_shorter_of_steps_and_epochs_ends_the_training() -> None:
    settings = NetworkSettings(batch_size=10, steps=25, epochs=100)
    assert epochs_of(settings, 59) == 5
    assert epochs_of(settings.model_copy(update={"epochs": 2}), 59) == 2
    assert epochs_of(settings, 5) == 25


def test_few_cells_a_wrong_preset_and_a_wrong_size_are_refused(
    control_cells: Callable[..., CellInputs],
) -> None:
    with pytest.raises(AmilError, match="'ra' needs 20 control cells with an outline or more, not 12"):
        trained(control_cells(12), TrainingFiles())
    with pytest.raises(
        SettingsError, match=r"no preset 'paper' of the anomaly score 'ra'; choose .* cell, code"
    ):
        Ra(ModelSettings(networks={"ra": {"preset": "paper"}}))
    with pytest.raises(SettingsError, match=r"2 widths and inputs of 32 pixels; .* size_px must be 16"):
        Ra(ModelSettings(networks={"ra": {"widths": [4, 8], "size_px": 32}}))


def test_cells_without_an_outline_are_left_out_and_have_no_score(
    control_cells: Callable[..., CellInputs],
) -> None:
    cells = control_cells()
    assert cells.pixels is not None
    cells.pixels[7, 3] = 0
    scorer = trained(cells, TrainingFiles(), epochs=1)
    assert np.flatnonzero(np.isnan(scorer.score(cells))).tolist() == [7]
    drawn = scorer.redraw(cells)
    assert np.flatnonzero(np.isnan(drawn.heat).any(axis=(1, 2))).tolist() == [7]
    far = np.hypot(*np.meshgrid(*[np.arange(32) - 16] * 2)) > 18
    assert drawn.heat[0][far].max() == 0
    assert drawn.heat[0].max() > 0


def test_what_lies_around_a_cell_is_white_and_does_not_count(
    control_cells: Callable[..., CellInputs],
) -> None:
    cells = control_cells(2).pixels
    assert cells is not None
    beside = cells.copy()
    beside[:, :3, :3, :3] = 40  # a neighbour in the corner
    settings = NetworkSettings(size_px=32, widths=(2, 2, 2))
    plain, other = (CellImages.from_pixels(torch.from_numpy(one), settings) for one in (cells, beside))
    torch.testing.assert_close(plain.x, other.x)
    assert float(plain.region[0, 0, 0]) == 0
    assert float(plain.region[0, 16, 16]) == 1
    keep = settings.model_copy(update={"outside": "keep", "region": "crop", "grey": True})
    kept = CellImages.from_pixels(torch.from_numpy(beside), keep)
    assert kept.x.shape == (2, 1, 32, 32)
    assert float(kept.x[0, 0, 0, 0]) == pytest.approx(40 / 255)
    assert float(kept.region.min()) == 1


def test_augmentation_turns_and_mirrors_but_keeps_size_and_background() -> None:
    x = torch.ones(64, 1, 32, 32)
    x[:, :, 8:24, 12:20] = 0.2  # taller than wide
    settings = NetworkSettings()
    moved = augmented(x, settings, torch.Generator().manual_seed(0))
    area = (1 - moved).sum(dim=(1, 2, 3)) / (1 - x).sum(dim=(1, 2, 3))
    assert float((area - 1).abs().max()) < 0.15
    assert float(moved[:, :, 0].min()) > 0.99
    still = settings.model_copy(update={"turn_deg": 0, "shift": 0, "zoom": 0, "mirror": False})
    torch.testing.assert_close(augmented(x, still, torch.Generator()), x)

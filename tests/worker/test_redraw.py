"""The worker redraws the cells of an image with the network of a model file, or says that there is none."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_amil.core.anomaly.reconstruction.memae import Memae
from napari_amil.core.cohort.smear import SynthSettings, synthetic_smear
from napari_amil.core.model.bundle import load_bundle, save_bundle, starter_path
from napari_amil.worker.jobs import JOBS
from napari_amil.worker.protocol.lines import decode_answer, encode_request, reply_to
from napari_amil.worker.protocol.messages import RedrawCells, RedrawnCells
from napari_amil.worker.serving import serve

SMEAR = synthetic_smear(0, SynthSettings(height=200, width=260, n_cells=12, n_platelets=0))


@pytest.fixture
def request_in(tmp_path: Path) -> RedrawCells:
    """The cells of a synthetic smear."""
    np.save(tmp_path / "image.npy", SMEAR.image)
    arrays: dict[str, Any] = dict(SMEAR.cells.arrays())
    np.savez(tmp_path / "cells.npz", **arrays)
    return RedrawCells(image=tmp_path / "image.npy", cells=tmp_path / "cells.npz", out=tmp_path, device="cpu")


def last_answer(request: RedrawCells) -> Any:
    said = io.BytesIO()
    serve(io.BytesIO(encode_request(0, request)), said, JOBS)
    content = decode_answer(said.getvalue().splitlines()[-1]).content
    return reply_to(request, content) if isinstance(content, dict) else content


def test_pictures_and_heat_of_all_cells_are_written(request_in: RedrawCells, tmp_path: Path) -> None:
    starter = load_bundle(starter_path())
    settings = starter.settings.changed(
        {"model": {"channels": ["latent_distance", "morph_distance", "memae"], "networks": {"memae": {}}}}
    )
    scorer = starter.need_scorer()
    channels = scorer.anomaly.channels | {"memae": Memae(settings.model)}
    anomaly = replace(scorer.anomaly, settings=settings.model, channels=channels)
    bundle = replace(starter, settings=settings, scorer=replace(scorer, anomaly=anomaly))
    save_bundle(bundle, tmp_path / "model.safetensors")
    asked = request_in.model_copy(update={"bundle": str(tmp_path / "model.safetensors")})
    reply = last_answer(asked)
    assert isinstance(reply, RedrawnCells)
    assert (reply.network, reply.networks) == ("memae", ("memae",))
    with np.load(reply.pictures) as stored:
        np.testing.assert_array_equal(stored["cell_id"], SMEAR.cells.cell_id)
        n = len(SMEAR.cells)
        assert stored["twin"].shape == stored["cell"].shape == stored["memory"].shape == (n, 64, 64, 3)
        assert stored["heat"].shape == (n, 64, 64)
        assert stored["field"].shape == SMEAR.image.shape[:2]
        assert stored["field"].max() > 0.01  # an untrained network draws no cell


def test_the_starter_has_no_network_and_says_what_to_do(request_in: RedrawCells) -> None:
    assert "add one with 'napari-amil train-anomaly'" in str(last_answer(request_in))

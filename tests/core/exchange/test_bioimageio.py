"""The package of an encoder is valid for the format's own library, and gives the embeddings that it holds."""

from __future__ import annotations

import zipfile
from pathlib import Path

import bioimageio.spec
import numpy as np
import pytest
import torch

from napari_amil.core.base.errors import AmilError
from napari_amil.core.exchange.bioimageio import write_bioimageio
from napari_amil.core.model.bundle import Bundle, load_bundle


@pytest.fixture(scope="module")
def starter() -> Bundle:
    return load_bundle()


@pytest.mark.filterwarnings("ignore")  # TorchScript's own
def test_the_package_is_valid_and_gives_its_test_tensors(starter: Bundle, tmp_path: Path) -> None:
    write_bioimageio(starter, tmp_path / "encoder.zip")
    read = bioimageio.spec.load_description(tmp_path / "encoder.zip", perform_io_checks=True)
    assert read.validation_summary.status != "failed"
    assert [axis.id for axis in read.inputs[0].axes] == ["batch", "channel", "y", "x"]
    assert len(read.outputs[0].axes[1].channel_names) == starter.settings.model.latent_dim
    with zipfile.ZipFile(tmp_path / "encoder.zip") as package:
        package.extractall(tmp_path / "inside")
    crops, wanted = (np.load(tmp_path / "inside" / f"{name}.npy") for name in ("crops", "embeddings"))
    network = torch.jit.load(tmp_path / "inside" / "encoder.pt")
    with torch.no_grad():
        np.testing.assert_allclose(network(torch.from_numpy(crops)).numpy(), wanted, atol=1e-5)
        own = starter.need_scorer().model.encoder.eval()(torch.from_numpy(crops[:1])).numpy()
    np.testing.assert_allclose(own, wanted[:1], atol=1e-5)  # a cell does not feel the others
    assert "For research only" in (tmp_path / "inside" / "README.md").read_text(encoding="utf-8")


def test_an_encoder_that_sees_no_crops_is_refused(starter: Bundle, tmp_path: Path) -> None:
    scorer = starter.need_scorer()
    encoder = scorer.model.measurement_encoder
    assert encoder is not None
    other = load_bundle()
    other.need_scorer().model.encoder = encoder
    with pytest.raises(AmilError, match="only these are packed"):
        write_bioimageio(other, tmp_path / "encoder.zip")
    assert not (tmp_path / "encoder.zip").exists()

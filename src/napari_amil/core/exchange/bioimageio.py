"""The encoder of a model as a BioImage.IO package, which other programs of the field run."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import replacing
from napari_amil.core.base.optional import optional
from napari_amil.core.model.bundle import Bundle
from napari_amil.core.model.card_text import card_text

_DOI = "10.1007/978-3-031-16452-1_33"
_N_TESTED = 4
_CHANNELS = ("red", "green", "blue")
_HOW = """# Encoder of blood cells

Embeds crops of single cells. A crop is {size} x {size} pixels, RGB from 0 to 1, with the cell in its middle.
Its side is {field:g} times the typical diameter of the cells of its image, and what is far from the cell is
white. For research only.

## Validation

{card}
"""


def write_bioimageio(bundle: Bundle, path: Path) -> None:
    """Write the encoder as TorchScript with test tensors, description and card: one ``.zip``.

    The package is checked by the format's own library before it takes its place.

    Raises
    ------
    AmilError
        If the model embeds no crops, or the package would not be valid.
    MissingExtraError
        If bioimageio.spec is not installed.
    """
    spec: Any = optional("bioimageio.spec")
    encoder = bundle.need_scorer().model.encoder.cpu().eval()
    if encoder.spec.input != "crop" or encoder.spec.frozen:
        raise AmilError(
            f"The encoder '{bundle.settings.model.encoder}' of this model is none of ours that embeds crops; "
            "only these are packed for BioImage.IO."
        )
    with tempfile.TemporaryDirectory(prefix="napari-amil-") as kept, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is on its way out, and is what the format knows
        folder = Path(kept)
        z = _write_parts(bundle, encoder, folder)
        described = _described(spec.model.v0_5, bundle, folder, len(z[0]))
        with replacing(path) as partial:
            written = spec.save_bioimageio_package(described, output_path=folder / "package.zip")
            found = spec.load_description(written, perform_io_checks=True).validation_summary
            if found.status == "failed":
                raise AmilError(f"The package is not valid ({found.format()[:200]}); please report it.")
            partial.write_bytes(Path(written).read_bytes())


def _write_parts(bundle: Bundle, encoder: torch.nn.Module, folder: Path) -> np.ndarray:
    """Write weights, test tensors and text into a folder; return the embeddings of the test crops."""
    size = bundle.settings.crop.size_px
    crops = torch.from_numpy(np.random.default_rng(0).random((_N_TESTED, 3, size, size), np.float32))
    with torch.no_grad():
        z: np.ndarray = encoder(crops).numpy()
        torch.jit.trace(encoder, crops, check_trace=False).save(str(folder / "encoder.pt"))
    np.save(folder / "crops.npy", crops.numpy())
    np.save(folder / "embeddings.npy", z)
    text = _HOW.format(size=size, field=bundle.settings.crop.field, card=card_text(bundle.card))
    (folder / "README.md").write_text(text, encoding="utf-8")
    return z


def _described(v: Any, bundle: Bundle, folder: Path, n_dimensions: int) -> Any:  # noqa: ANN401
    """Return the description of the package as the format's library takes it."""
    size = bundle.settings.crop.size_px
    channels = v.ChannelAxis(channel_names=[v.Identifier(name) for name in _CHANNELS])
    sides = [v.SpaceInputAxis(id=v.AxisId(name), size=size) for name in ("y", "x")]
    given = v.InputTensorDescr(
        id=v.TensorId("crops"),
        axes=[v.BatchAxis(), channels, *sides],
        test_tensor=v.FileDescr(source=folder / "crops.npy"),
        data=v.IntervalOrRatioDataDescr(type="float32", range=(0, 1)),
    )
    dimensions = v.ChannelAxis(channel_names=[v.Identifier(f"z{number}") for number in range(n_dimensions)])
    found = v.OutputTensorDescr(
        id=v.TensorId("embeddings"),
        axes=[v.BatchAxis(), dimensions],
        test_tensor=v.FileDescr(source=folder / "embeddings.npy"),
    )
    version = v.Version(torch.__version__.split("+", maxsplit=1)[0])
    weights = v.TorchscriptWeightsDescr(source=folder / "encoder.pt", pytorch_version=version)
    return v.ModelDescr(
        name="napari-amil encoder of blood cells",
        description="Embeds crops of single red cells, as a model of napari-amil sees them",
        authors=[v.Author(name="napari-amil contributors")],
        cite=[v.CiteEntry(text="Kazeminia et al., MICCAI 2022", doi=v.Doi(_DOI))],
        license=v.LicenseId("BSD-3-Clause"),
        documentation=v.FileDescr(source=folder / "README.md"),
        tags=["blood smear", "red blood cells", "embedding"],
        inputs=[given],
        outputs=[found],
        weights=v.WeightsDescr(torchscript=weights),
    )

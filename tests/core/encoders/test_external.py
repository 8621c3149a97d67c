"""Vision models of other people: read from a file, frozen, kept by content, refused when the file changes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import napari_amil as amil
from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.encoders.external import ExternalEncoder
from napari_amil.core.encoders.feature_cache import FeatureCache
from napari_amil.core.encoders.registry import build_encoder


class Pooled(nn.Module):
    """Mean of each colour, and of its square."""

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(n, 6)``."""
        return torch.cat([images.mean((2, 3)), (images * images).mean((2, 3))], dim=1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_AMIL_CACHE", str(tmp_path / "cache"))


def traced(path: Path, model: nn.Module | None = None) -> Path:
    """Write a TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace((model or Pooled()).eval(), torch.zeros(1, 3, 32, 32)).save(str(path))
    return path


def settings(path: Path, **values: object) -> ModelSettings:
    """Return settings of the encoder in a file."""
    given = {"encoder": "external", "external_file": str(path), "external_size_px": 32, "latent_dim": 8}
    return ModelSettings.parse(given | {"orientations": 1} | values)


def crops(n: int = 5) -> Tensor:
    """Return random crops."""
    return torch.randint(0, 256, (n, 3, 64, 64), dtype=torch.uint8)


def test_features_are_those_of_the_network_on_standardised_images(tmp_path: Path) -> None:
    encoder = build_encoder(settings(traced(tmp_path / "a.pt")), 3).eval()
    assert isinstance(encoder, ExternalEncoder)
    seen = crops()
    resized = nn.functional.interpolate(
        seen / 255, (32, 32), mode="bilinear", align_corners=False, antialias=True
    )
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = encoder.project(Pooled()((resized - mean[:, None, None]) / std[:, None, None]))
    torch.testing.assert_close(encoder(seen), expected)
    torch.testing.assert_close(encoder(seen.float() / 255), expected)


def test_only_the_projection_learns_and_is_saved(tmp_path: Path) -> None:
    encoder = build_encoder(settings(traced(tmp_path / "a.pt")), 3)
    assert {name for name, _ in encoder.named_parameters()} == {"project.2.weight", "project.2.bias"}
    assert set(encoder.state_dict()) == {"fingerprint", "project.2.weight", "project.2.bias"}
    encoder.train()(crops()).sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_the_second_time_all_features_come_from_the_file(tmp_path: Path) -> None:
    file, seen = traced(tmp_path / "a.pt"), crops()
    first = ExternalEncoder(settings(file)).eval()
    first(seen)
    again = ExternalEncoder(settings(file)).eval()
    again.load_state_dict(first.state_dict())
    torch.testing.assert_close(again(seen), first(seen))
    assert (again.cache.n_read, again.cache.n_computed) == (5, 0)
    again.train()(crops())
    again.eval()(crops(2))
    assert again.cache.n_computed == 7
    other = ExternalEncoder(settings(file, external_mean=[0, 0, 0]))
    assert other.cache.path != again.cache.path


def test_a_damaged_cache_is_computed_anew(tmp_path: Path) -> None:
    cache = FeatureCache("net")
    cache.path.parent.mkdir(parents=True)
    cache.path.write_bytes(b"no database")
    found = cache.recall(crops(3), lambda new: new.float().mean((2, 3)), keep=True)
    assert found.shape == (3, 3)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    file = traced(tmp_path / "a.pt")
    stored = ExternalEncoder(settings(file)).state_dict()
    traced(file, nn.Sequential(Pooled(), nn.ReLU()))
    with pytest.raises(BundleError, match="trained with another encoder file"):
        ExternalEncoder(settings(file)).load_state_dict(stored)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.pth", "is a pickle, which can run any program"),
        ("a.pt", "is no TorchScript file"),
        ("a.onnx", "is no ONNX file"),
        ("a.txt", "is no encoder file"),
    ],
)
def test_files_of_no_kind_are_refused_in_a_sentence(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(BundleError, match=sentence):
        ExternalEncoder(settings(tmp_path / name))


def test_a_missing_file_is_found_in_the_named_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone" / "a.pt"
    with pytest.raises(BundleError, match=r"There is no encoder file .*NAPARI_AMIL_ENCODERS"):
        ExternalEncoder(settings(gone))
    traced(tmp_path / "a.pt")
    monkeypatch.setenv("NAPARI_AMIL_ENCODERS", str(tmp_path))
    assert ExternalEncoder(settings(gone)).project[2].in_features == 6


def test_an_onnx_file_gives_the_features_of_its_network(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    value = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("GlobalAveragePool", ["x"], ["y"])]
    inputs = [value("x", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])]
    outputs = [value("y", onnx.TensorProto.FLOAT, ["n", 3, 1, 1])]
    graph = onnx.helper.make_graph(nodes, "means", inputs, outputs)
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "a.onnx")
    encoder = ExternalEncoder(
        settings(tmp_path / "a.onnx", external_mean=[0] * 3, external_std=[1] * 3)
    ).eval()
    grey = torch.full((1, 3, 64, 64), 51, dtype=torch.uint8)
    torch.testing.assert_close(encoder._features(grey), torch.full((1, 3), 0.2))


def test_weights_of_timm_fit_their_architecture(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("test_vit", pretrained=False, img_size=32, num_classes=5).eval()
    safetensors.torch.save_model(model, tmp_path / "vit.safetensors")
    given = settings(tmp_path / "vit.safetensors", external_architecture="test_vit")
    encoder = ExternalEncoder(given).eval()
    images = torch.randn(2, 3, 32, 32)
    expected = model.forward_head(model.forward_features(images), pre_logits=True)
    torch.testing.assert_close(encoder._vision_model().embed(images), expected)
    with pytest.raises(BundleError, match="timm knows no architecture 'nothing'"):
        ExternalEncoder(given.model_copy(update={"external_architecture": "nothing"}))
    with pytest.raises(BundleError, match="holds no weights"):
        ExternalEncoder(given.model_copy(update={"external_architecture": "test_resnet"}))


@pytest.mark.filterwarnings("ignore::napari_amil.AmilWarning")
def test_it_is_trained_scored_and_named_on_the_card(tmp_path: Path) -> None:
    file = traced(tmp_path / "a.pt")
    cohort = amil.make_cohort(tmp_path / "cohort", patients=2, samples=1)
    model = {"encoder": "external", "external_file": str(file), "external_size_px": 32, "orientations": 1}
    fast = {"max_epochs": 2, "cell_epochs": 1, "calibration_folds": 0, "augment": False}
    trained = amil.train(cohort, tmp_path / "run", settings={"model": model, "training": fast}).model
    assert (
        trained.card["scorer"]["encoder"]["sha256"]
        == ExternalEncoder(trained.settings.model).origin()["sha256"]
    )
    scored = amil.score(amil.sample_smear()[:240, :320], tmp_path / "run" / "bundle.safetensors")
    assert np.isfinite(scored.embeddings).all()
    traced(file, nn.Sequential(Pooled(), nn.Tanh()))
    with pytest.raises(amil.AmilError, match="another encoder file"):
        amil.load_model(tmp_path / "run" / "bundle.safetensors")

"""A bundle gives back what was put in, and refuses what is no bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.detection.network import WHITE, kinds_of, with_white_cells
from napari_amil.core.mil.class_calibration import ClassCalibration
from napari_amil.core.model.bundle import INTENDED_USE, Bundle, load_bundle, save_bundle
from napari_amil.core.model.card import FORMAT_VERSION, read_card, starter_path


def test_tensors_settings_and_card_survive(small_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "bundle.safetensors"
    save_bundle(small_bundle, path)
    loaded = load_bundle(path)
    assert loaded.settings == small_bundle.settings
    assert loaded.card == {"intended_use": "tests"}
    scorer, expected = loaded.need_scorer(), small_bundle.need_scorer()
    assert scorer.classes == ("control", "ill")
    crops = torch.rand(5, 3, 64, 64)
    torch.testing.assert_close(scorer.model.embed(crops), expected.model.embed(crops), rtol=0, atol=0)
    tensors, names = scorer.anomaly.state()
    before, same_names = expected.anomaly.state()
    torch.testing.assert_close(tensors, before, rtol=0, atol=0)
    assert names == same_names
    weights = loaded.need_detector().state_dict()
    for name, value in small_bundle.need_detector().state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=0)


def test_a_detector_of_two_kinds_of_cells_survives(small_bundle: Bundle, tmp_path: Path) -> None:
    wider = replace(small_bundle, detector=with_white_cells(small_bundle.need_detector(), "light"))
    save_bundle(wider, tmp_path / "bundle.safetensors")
    back = load_bundle(tmp_path / "bundle.safetensors").need_detector().state_dict()
    assert kinds_of(back) == WHITE
    for name, value in wider.need_detector().state_dict().items():
        torch.testing.assert_close(back[name], value)


def test_a_bundle_that_does_not_say_so_saw_colours(small_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "bundle.safetensors"
    save_bundle(small_bundle, path)
    assert load_bundle(path).settings.model.colour is small_bundle.settings.model.colour is False
    settings = json.loads(json.dumps(read_card(path)["settings"]))
    del settings["model"]["colour"]
    assert load_bundle(rewritten(path, {"settings": settings})).settings.model.colour is True


def test_a_mixture_of_control_gaussians_survives(small_bundle: Bundle, tmp_path: Path) -> None:
    wanted = small_bundle.settings.changed({"model": {"n_components": 2, "mixture": "responsibility"}})
    gaussian = small_bundle.need_scorer().anomaly.gaussian
    latents = torch.randn(200, gaussian.latent_dim)
    gaussian.fit(latents, wanted.model)
    save_bundle(replace(small_bundle, settings=wanted), tmp_path / "bundle.safetensors")
    loaded = load_bundle(tmp_path / "bundle.safetensors").need_scorer().anomaly.gaussian
    assert loaded.n_components == 2
    torch.testing.assert_close(loaded.distance(latents), gaussian.distance(latents), rtol=0, atol=0)


def test_the_calibration_of_class_probabilities_survives(small_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "bundle.safetensors"
    save_bundle(small_bundle, path)
    assert load_bundle(path).need_scorer().class_calibration is None  # as in older bundles
    fitted = ClassCalibration(1.7, np.array([0.1, 0.4]), np.array([0.5, 0.5]), 2)
    scorer = replace(small_bundle.need_scorer(), class_calibration=fitted)
    save_bundle(replace(small_bundle, scorer=scorer), path)
    loaded = load_bundle(path).need_scorer().class_calibration
    assert loaded is not None
    torch.testing.assert_close(loaded.state_dict(), fitted.state_dict(), rtol=0, atol=0)


def test_a_bundle_of_a_detector_alone_cannot_score(small_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "detector.safetensors"
    save_bundle(Bundle(RunSettings(), small_bundle.detector), path)
    loaded = load_bundle(path)
    assert loaded.detector is not None
    with pytest.raises(BundleError, match="cannot score"):
        loaded.need_scorer()
    with pytest.raises(BundleError, match="no detector"):
        Bundle(RunSettings()).need_detector()


def test_what_is_no_bundle_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read as a bundle"):
        load_bundle(tmp_path / "absent.safetensors")
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    with pytest.raises(BundleError, match="cannot be read as a bundle"):
        load_bundle(text)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(BundleError, match="no bundle of napari-amil"):
        load_bundle(foreign)


def test_another_version_and_missing_tensors_are_refused(small_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "bundle.safetensors"
    save_bundle(small_bundle, path)
    tensors = load_file(path)
    header = json.dumps(read_card(path))
    newer = tmp_path / "newer.safetensors"
    save_file(tensors, newer, {"format": "napari-amil bundle", "format_version": "99", "bundle": header})
    with pytest.raises(BundleError, match="format version '99'"):
        load_bundle(newer)
    tensors.pop("anomaly/channels/latent_distance/gaussian.mean")
    torn = tmp_path / "torn.safetensors"
    save_file(
        tensors,
        torn,
        {"format": "napari-amil bundle", "format_version": str(FORMAT_VERSION), "bundle": header},
    )
    with pytest.raises(BundleError, match="do not fit"):
        load_bundle(torn)


def rewritten(path: Path, header: dict[str, object] | None = None, **changes: torch.Tensor) -> Path:
    """Change the header and tensors (``__`` for a dot, ``_of_`` for a slash) of a bundle file."""
    with safetensors.safe_open(path, "np") as stored:
        metadata = stored.metadata()
    tensors = load_file(path) | {
        name.replace("_of_", "/").replace("__", "."): value for name, value in changes.items()
    }
    metadata["bundle"] = json.dumps(json.loads(metadata["bundle"]) | (header or {}))
    save_file(tensors, path, metadata)
    return path


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_that_is_not_finite_is_refused_by_name(
    small_bundle: Bundle, tmp_path: Path, value: float
) -> None:
    path = tmp_path / "bundle.safetensors"
    save_bundle(small_bundle, path)
    for part in ("model/", "anomaly/channels/", "anomaly/novelty/", "detector/"):
        whole = load_file(path)
        name = next(n for n, t in whole.items() if n.startswith(part) and t.is_floating_point())
        spoilt = whole[name].clone()
        spoilt.view(-1)[0] = value
        place = name.replace("/", "_of_").replace(".", "__")
        rewritten(path, **{place: spoilt})
        with pytest.raises(BundleError, match="not finite") as refused:
            load_bundle(path)
        assert f"'{name}'" in str(refused.value)
        assert str(path) in str(refused.value)
        rewritten(path, **{place: whole[name]})
    load_bundle(path)


def test_repeated_class_names_and_unknown_backbones_are_refused(small_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "bundle.safetensors"
    save_bundle(small_bundle, path)
    with pytest.raises(BundleError, match="class 'ill' twice"):
        load_bundle(rewritten(path, {"classes": ["ill", "ill"]}))
    with pytest.raises(BundleError, match=r"backbone 'heavy'.*light and resnet50"):
        load_bundle(rewritten(path, {"classes": ["control", "ill"], "backbone": "heavy"}))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "[" * 100_000])
def test_a_damaged_header_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bundle.safetensors"
    metadata = {"format": "napari-amil bundle", "format_version": str(FORMAT_VERSION), "bundle": text}
    save_file({"a": torch.zeros(1)}, path, metadata)
    with pytest.raises(BundleError, match="header of the bundle"):
        load_bundle(path)


def test_writing_leaves_no_half_file(small_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(small_bundle, tmp_path / "bundle.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.safetensors"]


def test_the_starter_bundle_is_small_complete_and_says_what_it_is() -> None:
    assert starter_path().stat().st_size < 25e6
    bundle = load_bundle()
    assert bundle.need_scorer().classes[0] == "control"
    assert bundle.need_detector() is not None
    assert bundle.card["intended_use"] == INTENDED_USE
    assert {"detector", "scorer", "results"} <= set(bundle.card)
    assert bool(bundle.need_scorer().anomaly.gaussian.fitted)


def test_the_readme_says_what_the_starter_bundle_reached() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    results = read_card(starter_path())["card"]["results"]
    found, scores = results["detection"], results["scores"]
    assert f"| {100 * found['recall']:.1f} % of {found['n']:,} |" in readme
    assert f"ROC {scores['cell_auroc_anomaly']:.3f} |" in readme
    area, low, high = results["whole_fields"]["cell ROC area, anomaly"]
    assert f"ROC {area:.3f} [{low:.3f}, {high:.3f}] |" in readme
    assert f"| {100 * scores['accuracy']:.1f} % of {scores['n_bags']:.0f} |" in readme

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

from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian
from napari_amil.core.anomaly.gaussian.refits import ControlMoments, drawn_patients
from napari_amil.core.anomaly.joint import JointDistance
from napari_amil.core.anomaly.morphology.refits import MorphologyRefits
from napari_amil.core.anomaly.morphology.statistics import ControlMorphology
from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.model.bundle import (
    FORMAT_VERSION,
    INTENDED_USE,
    Bundle,
    load_bundle,
    read_card,
    save_bundle,
    starter_path,
)
from napari_amil.core.morphology.measures import NAMES


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
    latents = torch.randn(5, 8)
    torch.testing.assert_close(
        scorer.gaussian.distance(latents), expected.gaussian.distance(latents), rtol=0, atol=0
    )
    np.testing.assert_array_equal(
        scorer.calibration.percentile(latents[:, 0]), expected.calibration.percentile(latents[:, 0])
    )
    np.testing.assert_array_equal(
        scorer.calibration.p_value(latents[:, 0]), expected.calibration.p_value(latents[:, 0])
    )
    assert float(scorer.calibration.in_sample) == float(expected.calibration.in_sample)
    assert scorer.moments is not None
    assert expected.moments is not None
    for part, other in ((scorer.moments, expected.moments), (scorer.novelty, expected.novelty)):
        torch.testing.assert_close(part.state_dict(), other.state_dict(), rtol=0, atol=0, equal_nan=True)
    weights = loaded.need_detector().state_dict()
    for name, value in small_bundle.need_detector().state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=0)


def test_a_bundle_without_the_later_parts_still_loads(small_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "bundle.safetensors"
    save_bundle(small_bundle, path)
    old = {
        name: tensor
        for name, tensor in load_file(path).items()
        if not name.startswith(("novelty/", "moments/", "calibration/patients", "calibration/in_sample"))
    }
    with safetensors.safe_open(path, "np") as stored:
        save_file(old, path, stored.metadata())
    scorer = load_bundle(path).need_scorer()
    assert scorer.moments is None
    assert scorer.novelty is None
    assert scorer.calibration.n_patients == 0
    assert np.isnan(float(scorer.calibration.in_sample))


def test_the_error_of_an_anomaly_is_that_of_both_its_distances(small_bundle: Bundle, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(5), 30)
    usual = rng.normal(size=(150, len(NAMES))) + rng.normal(size=(5, 1))[patients]
    old, model = small_bundle.need_scorer(), small_bundle.settings.model
    morphology, drawn = ControlMorphology.fit(usual), drawn_patients(5).numpy()
    refits = MorphologyRefits.fit(usual, patients, drawn)
    latents = torch.from_numpy(
        5 + rng.normal(size=(150, 1, 8)) + rng.normal(size=(5, 1, 8))[patients]
    ).float()
    gaussian = LatentGaussian(8)
    gaussian.fit(latents, model)
    moments = ControlMoments.from_controls(latents, patients, gaussian)
    distances = gaussian.distance(latents).double().numpy()
    joint = JointDistance.of(distances, morphology.distance(usual), 0.5)
    scorer = replace(
        old, gaussian=gaussian, moments=moments, joint=joint, morphology=morphology, refits=refits
    )
    save_bundle(replace(small_bundle, scorer=scorer), tmp_path / "bundle.safetensors")
    loaded = load_bundle(tmp_path / "bundle.safetensors").need_scorer()
    z, measured = latents[::10] + 2, usual[::10] + 2

    def refitted(draw: np.ndarray) -> np.ndarray:
        rows = np.concatenate([np.flatnonzero(patients == patient) for patient in draw])
        there = LatentGaussian(8)
        there.fit(latents[rows], model)
        return joint.distance(
            there.distance(z).double().numpy(), ControlMorphology.fit(usual[rows]).distance(measured)
        )

    expected = np.std([refitted(draw) for draw in drawn], axis=0, ddof=1)
    error = loaded.anomaly_error(z, measured, model)
    np.testing.assert_allclose(error, expected, rtol=0.1)
    known = replace(loaded, refits=None).anomaly_error(z, measured, model)
    assert (known < error).mean() > 0.8
    assert np.isnan(replace(loaded, moments=None).anomaly_error(z, measured, model)).all()


def test_a_mixture_of_control_gaussians_survives(small_bundle: Bundle, tmp_path: Path) -> None:
    wanted = small_bundle.settings.changed({"model": {"n_components": 2, "mixture": "responsibility"}})
    gaussian = small_bundle.need_scorer().gaussian
    latents = torch.randn(200, gaussian.latent_dim)
    gaussian.fit(latents, wanted.model)
    save_bundle(replace(small_bundle, settings=wanted), tmp_path / "bundle.safetensors")
    loaded = load_bundle(tmp_path / "bundle.safetensors").need_scorer().gaussian
    assert loaded.n_components == 2
    torch.testing.assert_close(loaded.distance(latents), gaussian.distance(latents), rtol=0, atol=0)


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
    with pytest.raises(BundleError, match="Cannot read the bundle"):
        load_bundle(tmp_path / "absent.safetensors")
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    with pytest.raises(BundleError, match="Cannot read the bundle"):
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
    with pytest.raises(BundleError, match="format version 99"):
        load_bundle(newer)
    tensors.pop("gaussian/mean")
    torn = tmp_path / "torn.safetensors"
    save_file(
        tensors,
        torn,
        {"format": "napari-amil bundle", "format_version": str(FORMAT_VERSION), "bundle": header},
    )
    with pytest.raises(BundleError, match="do not fit"):
        load_bundle(torn)


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
    assert bool(bundle.need_scorer().gaussian.fitted)


def test_the_readme_says_what_the_starter_bundle_reached() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    results = read_card(starter_path())["card"]["results"]
    found, scores = results["detection"], results["scores"]
    assert f"| {100 * found['recall']:.1f} % of {found['n']:,} |" in readme
    assert f"ROC {scores['cell_auroc_anomaly']:.3f} |" in readme
    assert f"| {100 * scores['accuracy']:.1f} % of {scores['n_bags']:.0f} |" in readme

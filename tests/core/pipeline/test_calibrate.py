"""A model is referred to other controls: what refers to them moves, the network stays."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.io import imread, imsave

from napari_amil.core.anomaly.control_sample import ControlSample
from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import Warned, drain
from napari_amil.core.cohort.control_folder import read_controls
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.instances.drift import differs, drift_sentences
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.focus import focus_of, sharpness
from napari_amil.core.instances.sources import Source, cohort_source
from napari_amil.core.model.bundle import load_bundle, save_bundle
from napari_amil.core.pipeline.recalibrate import Calibrated, calibrate
from napari_amil.core.scoring.score import score_source


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SynthCohortSettings(patients=4, samples=2, diseases={"ill": {"spherocyte": 0.3}})
    return write_synthetic_cohort(tmp_path_factory.mktemp("controls") / "cohort", settings)


def controls(listed: Path) -> Source:
    return cohort_source(read_controls(listed, "control"))


def calibrated(source: Source, recipe: Recipe) -> tuple[Calibrated, list[str]]:
    events: list[object] = []
    result = drain(calibrate(source, recipe), events.append)
    return result, [event.message for event in events if isinstance(event, Warned)]


def test_control_cells_of_the_same_kind_get_usual_p_values(
    listed: Path, recipe: Recipe, tmp_path: Path
) -> None:
    network = recipe.bundle.need_scorer().model
    before = recipe.bundle.need_scorer().anomaly
    result, warned = calibrated(controls(listed), recipe)
    path = tmp_path / "calibrated.safetensors"
    save_bundle(result.bundle, path)
    loaded = load_bundle(path)
    renewed, after = loaded.need_scorer().model, loaded.need_scorer().anomaly
    for name, weight in network.state_dict().items():
        if "distance_" not in name and "reference_" not in name:
            torch.testing.assert_close(renewed.state_dict()[name], weight, rtol=0, atol=0)
    assert after.calibration.n_patients == 4
    moments = {name: value for name, value in after.state()[0].items() if "moments" in name}
    assert moments["channels/latent_distance/moments.count"].numel() == 4
    center = next(v for n, v in renewed.state_dict().items() if n.endswith("distance_center"))
    assert after.joint is not None
    log_center = float(after.joint.center[0])  # of the distances that the pooling sees, without morphology
    assert np.log(float(center.flatten()[0])) == pytest.approx(log_center, abs=0.1)
    assert before.novelty is not None
    assert after.novelty is not None
    assert before.novelty.calibration is not None
    assert after.novelty.calibration is not None
    assert len(after.novelty.calibration) == len(before.novelty.calibration) + 8
    assert after.novelty.calibration.n_patients == before.novelty.calibration.n_patients + 4
    assert loaded.card["calibration"]["n_patients"] == 4
    assert loaded.card["intended_use"] == "tests"
    assert any("few" in message for message in warned)

    scored = drain(score_source(controls(listed), replace(recipe, bundle=loaded)))
    assert (scored.cells["anomaly_p"] < 0.05).mean() == pytest.approx(0.05, abs=0.05)
    strange = drain(score_source(controls(listed), recipe))
    assert strange.cells["anomaly_p"].min() > 0.5  # an untrained network puts all cells in one place
    assert result.drift["share_p05"] == 0
    assert result.drift["distance"] == pytest.approx(
        strange.cells["anomaly"].mean() / before.calibration.center, rel=0.05
    )


def test_drift_is_told_in_sentences(listed: Path, recipe: Recipe) -> None:
    result, _ = calibrated(controls(listed), recipe)
    told = drift_sentences(result.drift)
    assert "p < 0.05" in told[0]
    assert "differ clearly" in told[-1]
    assert len(told) == 5  # this bundle knows nothing of the fields of its training
    assert told[2].startswith("Verdicts: ")
    assert told[3].startswith("Power: ")
    assert told[1].startswith("Focus: ")
    fields = {"density": [0.3, 0.05], "diameter_px": [20.0, 1.0]}
    told_of = recipe.bundle.with_card(scorer={"fields": fields})
    known, _ = calibrated(controls(listed), replace(recipe, bundle=told_of))
    assert 1 < known.drift["diameter"] < 3
    assert known.drift["diameter_deviations"] == pytest.approx(20 * (known.drift["diameter"] - 1))
    assert "Stain: " in drift_sentences(known.drift)[1]
    usual = dict.fromkeys(known.drift, 1.0) | {"share_p05": 0.06}
    assert "resemble" in drift_sentences(usual)[-1]
    blurred = usual | {"focus": 0.3, "focus_deviations": -4.0}
    assert "These smears are blurred" in drift_sentences(blurred)[2]
    assert differs(blurred)
    unknown = usual | {"focus": float("nan"), "focus_deviations": float("nan")}
    assert "not known for this model" in drift_sentences(unknown)[2]
    assert not differs(unknown)


def test_focus_falls_with_blur_and_is_the_same_at_any_contrast() -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    disc = np.where(np.hypot(y, x)[..., None] < 20, np.array([200, 120, 150]), 245).astype(np.uint8)
    pale = (245 - (245 - disc.astype(int)) * 0.4).astype(np.uint8)
    blurred = ndimage.gaussian_filter(disc, (2, 2, 0))
    sharp, faint, soft = sharpness([disc, pale, blurred])
    assert faint == pytest.approx(sharp, rel=0.05)
    assert soft < 0.3 * sharp
    assert np.isnan(sharpness([np.full((64, 64, 3), 9, np.uint8)])).all()
    crops = np.stack([disc, disc, blurred]).transpose(0, 3, 1, 2)
    sample = ControlSample.from_cells(torch.zeros(3, 2), np.zeros((3, 4)), ["a", "a", "b"], crops)
    known = sharpness(sample.thumbnails(range(3)))
    assert focus_of(sample) == pytest.approx([(known[0] + known[2]) / 2, (known[0] - known[2]) / 2], rel=0.01)
    assert focus_of(None) is None


def test_too_little_is_refused_and_little_is_said(listed: Path, recipe: Recipe) -> None:
    source = controls(listed)
    first = source.cohort.bags[0]
    with pytest.raises(CohortError, match="whole control cells; a calibration"):
        calibrated(replace(source, cohort=replace(source.cohort, bags=(first,))), recipe)
    mine = [replace(bag, patient="me") for bag in source.cohort]
    _, warned = calibrated(replace(source, cohort=replace(source.cohort, bags=tuple(mine))), recipe)
    assert any("one patient" in message for message in warned)
    ill = [replace(bag, patient="ill") for bag in source.cohort]
    with pytest.raises(CohortError, match="named like a disease"):
        calibrated(replace(source, cohort=replace(source.cohort, bags=tuple(ill))), recipe)


def test_a_box_without_a_cell_is_no_control(listed: Path, recipe: Recipe, tmp_path: Path) -> None:
    shutil.copytree(listed.parent, tmp_path / "cohort")
    source = controls(tmp_path / "cohort" / listed.name)
    whole, _ = calibrated(source, recipe)
    image, cells = next(iter(source.cohort.bags[0].cells.items()))
    y0, x0, y1, x1 = cells.take(~cells.touches_border).boxes[0].astype(int)
    path = source.files[image][0]
    pixels = imread(path)
    pixels[y0 - 9 : y1 + 9, x0 - 9 : x1 + 9] = np.percentile(pixels, 99, axis=(0, 1))
    imsave(path, pixels, check_contrast=False)
    result, warned = calibrated(source, recipe)
    said = next(message for message in warned if "no whole cell" in message)
    assert f"the first of '{source.cohort.bags[0].patient}'" in said
    n_empty = int(said.split()[0])
    assert n_empty >= 1
    scorers = [one.bundle.need_scorer() for one in (whole, result)]
    calibrations = [scorer.anomaly.calibration for scorer in scorers]
    assert len(calibrations[0]) - len(calibrations[1]) == n_empty
    assert all(torch.isfinite(calibration.distances).all() for calibration in calibrations)


def test_loose_images_count_as_patients(listed: Path, recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "loose"
    folder.mkdir()
    for number, image in enumerate(sorted((listed.parent / "control").rglob("*.png"))[:4]):
        (folder / f"{number}.png").write_bytes(image.read_bytes())
    result, warned = calibrated(controls(folder), recipe)
    assert any("counts as a patient" in message for message in warned)
    assert result.bundle.need_scorer().anomaly.calibration.n_patients == 4
    assert np.isfinite(
        result.bundle.need_scorer().anomaly.calibration.percentile_error(np.array([1.0]))
    ).all()

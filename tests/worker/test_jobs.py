"""Jobs of the worker, through lines and files; the stand-in of the panels' tests replies alike."""

from __future__ import annotations

import importlib.util
import io
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel
from skimage.transform import rescale

from napari_amil.core import pipeline
from napari_amil.core.base.events import Step, drain
from napari_amil.core.base.types import BagScore, Cells
from napari_amil.core.cohort.synth import (
    SynthCohortSettings,
    SynthSettings,
    synthetic_smear,
    write_synthetic_cohort,
)
from napari_amil.worker.jobs import JOBS
from napari_amil.worker.protocol.lines import READY, decode_answer, encode_request, reply_to
from napari_amil.worker.protocol.messages import (
    REQUESTS,
    CheckCohort,
    CohortChecked,
    CohortRead,
    CohortScored,
    DeleteCells,
    DeletionCurves,
    Detect,
    Detected,
    FieldOfViewFound,
    FindFieldOfView,
    FindNearest,
    Info,
    LayOutMap,
    ListChoices,
    MapWritten,
    ModelCard,
    NearestCells,
    ReadCohort,
    Reply,
    Report,
    Reported,
    Request,
    Score,
    ScoreCohort,
    Scored,
    TrainingChoices,
)
from napari_amil.worker.serving import Jobs, serve

R = TypeVar("R", bound=Reply)


def ask_all(*requests: Request, jobs: Jobs = JOBS) -> list[Reply | str | Step]:
    """Return all that the worker says of the requests."""
    replies = io.BytesIO()
    lines = b"".join(encode_request(number, request) for number, request in enumerate(requests))
    serve(io.BytesIO(lines), replies, jobs)
    ready, *answers = [decode_answer(line) for line in replies.getvalue().splitlines()]
    assert ready == READY
    return [
        reply_to(requests[answer.number], answer.content)
        if isinstance(answer.content, dict)
        else answer.content  # type: ignore[misc]
        for answer in answers
    ]


def ask(request: Request, kind: type[R], jobs: Jobs = JOBS) -> R:
    """Return the reply to one request."""
    reply = ask_all(request, jobs=jobs)[-1]
    assert isinstance(reply, kind), reply
    return reply


@pytest.fixture(scope="module")
def stand_in() -> ModuleType:
    """The worker of the panels' tests (tests/plugin/tiny_worker.py)."""
    path = Path(__file__).parents[1] / "plugin" / "tiny_worker.py"
    spec = importlib.util.spec_from_file_location("tiny_worker", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_worker"] = module
    spec.loader.exec_module(module)
    return module


def test_the_field_of_view_is_a_mask_in_a_file_or_none(tmp_path: Path) -> None:
    y, x = np.ogrid[:700, :900]
    disc = np.where((np.hypot(y - 350, x - 450) < 300)[..., None], 220, 3).astype(np.uint8).repeat(3, axis=2)
    np.save(tmp_path / "disc.npy", disc)
    found = ask(FindFieldOfView(image=tmp_path / "disc.npy", out=tmp_path), FieldOfViewFound)
    assert found.mask is not None
    mask = np.load(found.mask)
    assert (mask.shape, found.step) == ((350, 450), 2)
    assert mask[175, [0, 70, 80, 225, 370, 380, 449]].tolist() == [
        False,
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    np.save(tmp_path / "whole.npy", synthetic_smear(0).image)
    whole = ask(FindFieldOfView(image=tmp_path / "whole.npy", out=tmp_path), FieldOfViewFound)
    assert (whole.mask, whole.step) == (None, 1)


def test_detect_then_score_through_files(tmp_path: Path) -> None:
    smear = synthetic_smear(0)
    image = tmp_path / "image.npy"
    np.save(image, smear.image)
    step, *_, found = ask_all(Detect(image=image, out=tmp_path, device="cpu"))
    assert isinstance(step, Step)
    assert isinstance(found, Detected)
    with np.load(found.candidates) as stored:
        cells = Cells.from_arrays(stored)
    confident = cells.take(cells.detection_score > 0.5)
    assert abs(len(confident) - len(smear.cells)) <= 0.15 * len(smear.cells)
    assert 30 < found.diameter_px < 60
    np.savez(tmp_path / "cells.npz", **confident.arrays())
    scored = ask(Score(image=image, cells=tmp_path / "cells.npz", out=tmp_path, device="cpu"), Scored)
    table, bag = pd.read_csv(scored.scores), scored.bag
    assert table["cell_id"].tolist() == confident.cell_id.tolist()
    assert sum(bag.probability.values()) == pytest.approx(1)
    for name in bag.probability:
        total = table[f"contribution_{name}"].sum() + bag.bias[name]
        assert total == pytest.approx(bag.logit[name], abs=1e-4)
    assert 0 < bag.novelty_p <= 1
    assert bag.verdict
    errors = table.loc[table["status"] == "scored", ["anomaly_se", "anomaly_percentile_se"]]
    assert errors.notna().all(axis=None)
    _explain(scored)


def _explain(scored: Scored) -> None:
    """Ask for what explains the scores of a field."""
    with np.load(scored.evidence, allow_pickle=False) as stored:
        cell_id = int(stored["cell_id"][0])
        assert stored["control_picture"].shape[1:] == (64, 64, 3)
    groups = {"ill": {"field": scored.evidence}}
    near = ask(FindNearest(cell=("field", cell_id), groups=groups), NearestCells)
    assert near.cell == ("field", cell_id)
    assert len(near.groups["ill"]) == 5
    removed = ask(DeleteCells(evidence=scored.evidence, device="cpu"), DeletionCurves)
    assert removed.predicted == scored.bag.predicted
    for curve in removed.probability.values():
        assert curve[0] == pytest.approx(scored.bag.probability[removed.predicted], abs=1e-4)


def test_info_reads_the_card() -> None:
    assert "research" in ask(Info(), ModelCard).card["intended_use"]


def test_a_failure_is_one_sentence_and_the_next_job_runs(tmp_path: Path) -> None:
    absent = Detect(image=tmp_path / "absent.png", out=tmp_path)
    first, second, third = ask_all(absent, Info(bundle="nowhere.safetensors"), Info())
    assert isinstance(first, str)
    assert "absent.png" in first
    assert isinstance(second, str)
    assert "nowhere.safetensors" in second
    assert isinstance(third, ModelCard)


def test_a_cohort_is_described_before_the_controls_are_known(tmp_path: Path) -> None:
    settings = SynthCohortSettings(control="wt", patients=2, samples=1, diseases={"ill": {"spherocyte": 0.3}})
    listed = write_synthetic_cohort(tmp_path / "cohort", settings)
    unknown = ask(ReadCohort(cohort=listed, out=tmp_path), CohortRead)
    assert (unknown.classes, unknown.control, unknown.bags) == (("ill", "wt"), None, None)
    known = ask(ReadCohort(cohort=listed, out=tmp_path, control="wt"), CohortRead)
    assert (known.classes, known.control) == (("wt", "ill"), "wt")
    assert known.bags is not None
    assert len(pd.read_csv(known.bags)) == 4
    problems = ask(CheckCohort(cohort=listed, control="wt"), CohortChecked).problems
    assert {"few-patients", "few-cells"} <= {problem.kind for problem in problems}


def test_presets_and_devices_can_be_chosen_from() -> None:
    found = ask(ListChoices(), TrainingChoices)
    assert found.presets["amil-code"].model.encoder == "roi"
    assert "cpu" in found.devices


def test_a_cohort_is_scored_into_a_folder_laid_out_and_reported(tmp_path: Path) -> None:
    cohort = write_synthetic_cohort(tmp_path / "made", SynthCohortSettings(patients=1, samples=1))
    folder = tmp_path / "scored"
    scored = ask(ScoreCohort(inputs=(cohort,), out=folder, device="cpu"), CohortScored)
    assert scored.folder == folder
    assert scored.n_bags == len(pd.read_csv(folder / "bags.csv"))
    place = np.load(ask(LayOutMap(folder=folder), MapWritten).map, allow_pickle=False)
    assert place.shape == (scored.n_cells, 2)
    assert np.isfinite(place).all()
    page = folder / "report" / "cohort.html"
    assert ask(Report(folder=folder), Reported) == Reported(page=page, n_samples=scored.n_bags)
    assert len(list((page.parent / "samples").glob("*.html"))) == scored.n_bags


def test_every_request_has_a_job_and_the_stand_in_invents_none(stand_in: ModuleType) -> None:
    assert set(JOBS) == set(REQUESTS.values())
    assert set(stand_in.JOBS) <= set(JOBS)


def test_the_stand_in_replies_like_the_worker(stand_in: ModuleType, tmp_path: Path) -> None:
    image = tmp_path / "image.npy"
    np.save(image, synthetic_smear(0).image)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    own, own_arrays, own_columns = _described(stand_in.JOBS, image, tmp_path / "a")
    real, arrays, columns = _described(JOBS, image, tmp_path / "b")
    assert own == real
    assert own_columns <= columns
    assert {name: arrays.get(name) for name in own_arrays} == own_arrays


def _described(jobs: Jobs, image: Path, out: Path) -> tuple[list[Any], dict[str, str], set[str]]:
    """Return the types of all fields of the replies, and what the files of the scores hold."""
    found = ask(Detect(image=image, out=out, device="cpu"), Detected, jobs)
    scored = ask(Score(image=image, cells=found.candidates, out=out, device="cpu"), Scored, jobs)
    with np.load(scored.evidence) as stored:
        arrays = {name: f"{value.dtype.kind}{value.ndim}" for name, value in stored.items()}
        cell = ("field", int(stored["cell_id"][0]))
    near = ask(FindNearest(cell=cell, groups={"a": {"field": scored.evidence}}), NearestCells, jobs)
    curves = ask(DeleteCells(evidence=scored.evidence, device="cpu"), DeletionCurves, jobs)
    others = [ask(Info(), ModelCard, jobs), ask(ListChoices(), TrainingChoices, jobs)]
    columns = {name for name in pd.read_csv(scored.scores) if not name.startswith("contribution_")}
    assert near.cell == cell
    return [_types(reply) for reply in (found, scored, near, curves, *others)], arrays, columns


def _types(value: object) -> Any:
    """Return the type of every field, of the first item of a collection, and of a number."""
    if isinstance(value, BaseModel):
        return {name: _types(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, BagScore):
        return {name: _types(part) for name, part in vars(value).items()}
    if isinstance(value, list | tuple):
        return [_types(part) for part in value[:1]]
    if isinstance(value, dict):
        return "dict"
    return type(value).__name__


def test_cells_are_scored_at_the_scale_at_which_they_were_found(tmp_path: Path) -> None:
    small = synthetic_smear(7, SynthSettings(height=200, width=240, n_cells=22, n_platelets=0))
    image = np.asarray(rescale(small.image, 2.5, channel_axis=2) * 255, dtype=np.uint8)
    np.save(tmp_path / "image.npy", image)
    cells = Cells(small.cells.boxes * 2.5, tuple(outline * 2.5 for outline in small.cells.outlines))
    np.savez(tmp_path / "cells.npz", **cells.arrays())
    recipe = pipeline.Recipe.from_bundle(pipeline.load_bundle(), None, pipeline.pick_device("cpu"))
    prepared = pipeline.prepare(image, recipe)
    right = replace(prepared, view=prepared.view.at_diameter(61.5))
    known = drain(pipeline.measured_field(right, cells, recipe))
    expected, _ = pipeline.score_bag("image", {"image": cells}, known, recipe)
    request = Score(image=tmp_path / "image.npy", cells=tmp_path / "cells.npz", out=tmp_path, device="cpu")
    scored = ask(request.model_copy(update={"agreed_px": 61.5}), Scored)
    np.testing.assert_allclose(pd.read_csv(scored.scores)["anomaly"], expected.table["anomaly"], rtol=1e-6)
    assert "the cells are" in scored.look
    assert scored.looks_alike is False


def test_a_message_names_the_field_and_not_the_file_that_carries_it(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.full((64, 64), -3.0))
    answer = ask_all(Detect(image=tmp_path / "image.npy", name="smear 3", out=tmp_path))[-1]
    assert str(answer).startswith("The image 'smear 3' has values from -3 to -3")
    (tmp_path / "cut.tif").write_bytes(b"II*\0broken")
    answer = ask_all(Detect(image=tmp_path / "cut.tif", name="cut.tif", out=tmp_path))[-1]
    assert str(answer).startswith("The image 'cut.tif' is damaged")

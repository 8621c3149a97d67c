"""Who is tested on whom: folds, runs, shared encoders, and nothing that was seen before."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_amil.core.base.errors import CohortError, SettingsError
from napari_amil.core.base.events import Event, Failed, Warned, drain
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.cohort.bag_level import at_level
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source, open_source
from napari_amil.core.studies.cells import open_cells
from napari_amil.core.studies.plan import StudyPlan, StudyProtocol


def _plan(source: Source, protocol: StudyProtocol, recipe: Recipe, work: Path) -> StudyPlan:
    plan = StudyPlan(protocol.source(source), protocol, work)
    for row, settings in {
        "one": recipe.settings,
        "raw": recipe.settings.changed({"model": {"distance_transform": "raw"}}),
        "other": recipe.settings.changed({"training": {"hypersphere_weight": 0.0}}),
    }.items():
        drain(plan.add(row, settings, recipe))
    return plan


def test_every_fold_is_held_out_in_turn(source: Source) -> None:
    protocol = StudyProtocol()
    assert protocol.tested(protocol.source(source).cohort) == [0, 1]
    one = StudyProtocol(hold_out_fold=1)
    assert one.tested(one.source(source).cohort) == [1]
    assert len(one.source(source).cohort) == 12


def test_the_fold_that_is_kept_aside_is_never_touched(source: Source) -> None:
    protocol = StudyProtocol(hold_out_fold=1, inner=True)
    inner = protocol.source(source)
    held = {bag.bag for bag in source.cohort if bag.fold == 1}
    assert held
    assert not {bag.bag for bag in inner.cohort} & held
    assert not {image for bag in source.cohort if bag.fold == 1 for image in bag.images} & set(inner.files)
    assert protocol.tested(inner.cohort) == [0, 1, 2]  # one fold was left, and is dealt into three
    fold_of: dict[str, set[int | None]] = {}
    for bag in inner.cohort:
        fold_of.setdefault(bag.patient, set()).add(bag.fold)
    assert all(len(folds) == 1 for folds in fold_of.values())


def test_given_folds_serve_as_inner_folds(source: Source) -> None:
    three = replace(source, cohort=StudyProtocol(n_folds=3).source(source).cohort)
    protocol = StudyProtocol(hold_out_fold=2, inner=True)
    assert protocol.tested(protocol.source(three).cohort) == [0, 1]


def test_folds_that_are_not_there_are_refused(source: Source) -> None:
    with pytest.raises(CohortError, match="no fold 7 to hold out; the folds are 0, 1"):
        StudyProtocol(hold_out_fold=7).source(source)
    with pytest.raises(SettingsError, match="--inner needs"):
        StudyProtocol(inner=True)


def test_seeds_differ_between_folds_and_runs_and_not_between_rows(
    source: Source, recipe: Recipe, tmp_path: Path
) -> None:
    plan = _plan(source, StudyProtocol(runs=2), recipe, tmp_path)
    seeds = {row: [t.settings.training.seed for t in trials] for row, trials in plan.trials.items()}
    assert seeds["one"] == seeds["raw"] == seeds["other"]
    assert len(set(seeds["one"])) == 4


def test_rows_with_the_same_first_stage_form_a_group(source: Source, recipe: Recipe, tmp_path: Path) -> None:
    plan = _plan(source, StudyProtocol(runs=2), recipe, tmp_path)
    groups = plan.groups()
    rows = [tuple(trial.row for trial in group.trials) for group in groups]
    assert sorted(rows) == [("one", "raw")] * 4 + [("other",)] * 4
    assert [group.trials[0].run for group in groups] == [0] * 4 + [1] * 4
    assert sorted(groups[0].units()) in (["encoder", "one", "raw"], ["encoder", "other"])
    cells = open_cells(groups[0].trials[0].cells, groups[0].classes, groups[0].control)
    train, test = groups[0].sides(cells)
    assert not set(train.patients) & set(test.patients)
    assert len(train) + len(test) == 12


def test_control_bags_that_are_no_reference_teach_the_classes_only(
    source: Source, recipe: Recipe, tmp_path: Path
) -> None:
    first = next(bag.bag for bag in source.cohort if bag.label == "control")
    bags = tuple(replace(bag, control_reference=bag.bag != first) for bag in source.cohort)
    marked = replace(source, cohort=replace(source.cohort, bags=bags))
    plan = _plan(marked, StudyProtocol(runs=1), recipe, tmp_path)
    trial = plan.trials["one"][0]
    assert trial.cells != _plan(source, StudyProtocol(runs=1), recipe, tmp_path).trials["one"][0].cells
    cells = plan.opened(trial)[0]
    number = cells.table["bag"].tolist().index(first)
    assert not set(cells.bags.rows[number]) & set(cells.bags.control_cells()[0])
    assert set(cells.bags.rows[number]) <= set(cells.bags.control_cells(teaching=True)[0])
    for one in plan.trials["one"]:
        assert number not in plan.controls(one)
        assert len(plan.controls(one))


def test_a_class_that_is_left_out_is_only_tested(source: Source, recipe: Recipe, tmp_path: Path) -> None:
    protocol = StudyProtocol(runs=1)
    plan = StudyPlan(protocol.source(source), protocol, tmp_path)
    drain(plan.add("without", recipe.settings, recipe, unseen="elliptocytosis"))
    group = plan.groups()[0]
    train, test = group.sides(open_cells(group.trials[0].cells, group.classes, group.control))
    assert train.classes == test.classes == ("control", "spherocytosis")
    np.testing.assert_array_equal(np.unique(train.labels), [0, 1])
    np.testing.assert_array_equal(np.unique(test.labels), [-1, 0, 1])


def test_a_cohort_that_was_copied_is_the_same(
    cohort: Path, recipe: Recipe, tiny: RunSettings, tmp_path: Path
) -> None:
    protocol = StudyProtocol(runs=1)

    def results(listed: Path) -> list[Path]:
        plan = StudyPlan(protocol.source(open_source([listed], "control")), protocol, tmp_path / "work")
        drain(plan.add("one", tiny, recipe))
        return [trial.result for trial in plan.trials["one"]]

    before = results(cohort)
    copied = Path(shutil.copytree(cohort.parent, tmp_path / "cohort", copy_function=shutil.copyfile))
    assert results(copied / cohort.name) == before
    images = sorted(copied.rglob("*.png"))
    shutil.copyfile(images[0], images[-1])
    assert not set(results(copied / cohort.name)) & set(before)


def test_a_copy_of_a_test_image_leaves_the_training(
    cohort: Path, recipe: Recipe, tiny: RunSettings, tmp_path: Path
) -> None:
    shutil.copytree(cohort.parent, tmp_path / "cohort")
    table = (tmp_path / "cohort" / cohort.name).read_text().splitlines()
    image = next(line.split(",")[4] for line in table[1:] if line.split(",")[3] == "1")
    other = next(line.split(",")[4] for line in table[1:] if line.split(",")[3] == "0")
    shutil.copyfile(tmp_path / "cohort" / image, tmp_path / "cohort" / other)
    protocol = StudyProtocol(runs=1)
    plan = StudyPlan(
        protocol.source(open_source([tmp_path / "cohort" / cohort.name], "control")), protocol, tmp_path
    )
    said: list[object] = []
    drain(plan.guard(tiny), said.append)
    copies = [
        event.message for event in said if isinstance(event, Warned) and "leave the training" in event.message
    ]
    assert len(copies) == 2
    assert other in copies[1]
    drain(plan.add("one", tiny, recipe))
    for group in plan.groups():
        cells = open_cells(group.trials[0].cells, group.classes, group.control)
        train, test = group.sides(cells)
        assert len(train) + len(test) == 11
        images = [set(cells.images[np.concatenate(side.rows)]) for side in (train, test)]
        assert len(images[0] & {image, other}) == 0
        assert len(images[1] & {image, other}) == 1


@pytest.mark.parametrize("level", ["image", "patient"])
def test_bags_of_every_level_are_in_the_fold_of_their_patient(
    source: Source, recipe: Recipe, tmp_path: Path, level: str
) -> None:
    plan = StudyPlan(source, StudyProtocol(runs=1), tmp_path)
    drain(plan.add("one", recipe.settings.changed({"bag_level": level}), recipe))
    fold_of = {bag.patient: bag.fold for bag in source.cohort}
    tested = []
    for trial in plan.trials["one"]:
        cells, test = plan.opened(trial)
        assert {fold_of[patient] for patient in cells.bags.take(test).patients} == {trial.fold}
        tested += cells.table["bag"].iloc[test].tolist()
    whole = {bag.bag for bag in at_level(source.cohort, level)}
    assert len(tested) == len(set(tested))
    assert set(tested) == whole
    with pytest.raises(
        SettingsError, match=f"\\('sample'\\) are not those of the rows before it \\('{level}'\\)"
    ):
        drain(plan.add("other", recipe.settings, recipe))


def test_types_that_were_corrected_count(source: Source, recipe: Recipe, tmp_path: Path) -> None:
    before = _plan(source, StudyProtocol(runs=1), recipe, tmp_path)
    bags = [
        replace(bag, cell_type={image: np.full(len(types), "burr") for image, types in bag.cell_type.items()})
        for bag in source.cohort
    ]
    corrected = replace(source, cohort=replace(source.cohort, bags=tuple(bags)))
    after = _plan(corrected, StudyProtocol(runs=1), recipe, tmp_path)
    known = {bag.bag: np.concatenate(list(bag.cell_type.values())) for bag in source.cohort}
    for name, types in zip(known, before.truth().cell_type, strict=True):
        assert set(types) <= set(known[name])
    assert set(np.concatenate(before.truth().cell_type)) > {"normal"}
    assert set(np.concatenate(after.truth().cell_type)) == {"burr"}
    assert [t.result for t in after.trials["one"]] == [t.result for t in before.trials["one"]]


def test_an_image_that_failed_is_said_again_where_the_cells_are_kept(
    cohort: Path, recipe: Recipe, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(cohort.parent, tmp_path / "cohort"))
    source = open_source([copied / cohort.name], "control")
    broken = next(image for bag in source.cohort for image in bag.images)
    (copied / broken).write_text("no image")
    for _ in range(2):
        events: list[Event] = []
        plan = StudyPlan(StudyProtocol().source(source), StudyProtocol(runs=1), tmp_path / "work")
        drain(plan.add("one", recipe.settings, recipe), events.append)
        assert broken in {event.source for event in events if isinstance(event, Failed)}

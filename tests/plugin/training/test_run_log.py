"""What a run said is read bit by bit, through half lines, resumption and other versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzzing import fuzz

from napari_amil.core.base.events import (
    ControlDistances,
    Ended,
    EpochReport,
    Event,
    Step,
    TrainingBegan,
    Warned,
    to_dict,
)
from napari_amil.core.base.settings import RunSettings
from napari_amil.plugin.training.run_log import RunLog
from napari_amil.plugin.training.run_progress import duration, seconds_left

SETTINGS = RunSettings.parse({"training": {"cell_epochs": 4, "max_epochs": 10, "calibration_folds": 3}})


def line(event: Event, time: float = 0.0) -> str:
    return json.dumps({"time": time, **to_dict(event)}) + "\n"


def log_of(folder: Path, *events: tuple[float, Event]) -> RunLog:
    (folder / "events.jsonl").write_text("".join(line(event, time) for time, event in events))
    log = RunLog(folder)
    log.poll_all()
    return log


def test_a_line_counts_when_it_is_whole(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    assert not log.poll()
    text = line(EpochReport(0, 9, 0.5)) + line(EpochReport(1, 9, 0.25))
    (tmp_path / "events.jsonl").write_text(text[:-20])
    assert log.poll()
    assert log.now is not None
    assert sorted(log.now.epochs) == [0]
    (tmp_path / "events.jsonl").write_text(text)
    assert log.poll()
    assert log.now.last is not None
    assert (log.now.last.epoch, log.now.last.train_loss) == (1, 0.25)
    assert not log.poll()


def test_trainings_steps_notes_and_the_end_are_kept_apart(tmp_path: Path) -> None:
    log = log_of(
        tmp_path,
        (0, TrainingBegan("without fold 0", 1, 2)),
        (1, EpochReport(0, 2, 0.5)),
        (2, TrainingBegan("the model of the run", 2, 2)),
        (3, ControlDistances(0, [0.0, 1.0], [4])),
        (4, EpochReport(0, 2, 0.75)),
        (5, Warned("Few patients.")),
        (5, Warned("Few patients.")),
        (6, Ended()),
    )
    assert [(t.name, t.epochs[0].train_loss) for t in log.trainings] == [
        ("without fold 0", 0.5),
        ("the model of the run", 0.75),
    ]
    assert log.trainings[1].distances[0].counts == [4]
    assert log.notes == ["Few patients."]
    assert log.ended == Ended()


def test_a_resumed_training_goes_on_in_its_curve(tmp_path: Path) -> None:
    log = log_of(
        tmp_path,
        (0, TrainingBegan("the model of the run", 1, 1)),
        (1, EpochReport(0, 3, 0.5)),
        (2, EpochReport(1, 3, 0.4)),
        (3, Ended("cancelled")),
        (9, TrainingBegan("the model of the run", 1, 1)),
        (10, EpochReport(1, 3, 0.4)),
        (11, EpochReport(2, 3, 0.3)),
    )
    assert len(log.trainings) == 1
    assert [log.trainings[0].epochs[epoch].train_loss for epoch in (0, 1, 2)] == [0.5, 0.4, 0.3]
    assert log.ended is None


def test_lines_that_nobody_understands_are_passed_over(tmp_path: Path) -> None:
    text = '{"event": "Sang"}\n[1]\nno json\n' + line(Warned("careful"))
    (tmp_path / "events.jsonl").write_text(text)
    log = RunLog(tmp_path)
    log.poll_all()
    assert log.notes == ["careful"]


def test_a_log_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    log = log_of(tmp_path, (0, Warned("an old and long sentence")), (1, Warned("another")))
    (tmp_path / "events.jsonl").write_text(line(Warned("new")))
    log.poll_all()
    assert log.notes == ["new"]


def epochs(*times: float) -> list[tuple[float, Event]]:
    return [(time, EpochReport(epoch, 14, 0.5)) for epoch, time in enumerate(times)]


def test_the_time_left_counts_cells_bags_calibration_and_other_trainings(tmp_path: Path) -> None:
    began = (0.0, TrainingBegan("without fold 0", 1, 2))
    # 10 s an epoch over cells, 1 s an epoch over bags; embedding before the first of them
    log = log_of(tmp_path, began, *epochs(10, 20, 30, 40, 55, 56, 57))
    one = 4 * 10 + 10 * 1 + 2 * 4 * 10
    assert seconds_left(log, SETTINGS) == pytest.approx((7 + 80) + one)


def test_the_time_left_falls_while_networks_for_p_values_are_trained(tmp_path: Path) -> None:
    every = epochs(10, 20, 30, 40, 55, *range(56, 65))
    step = (70.0, Step("calibration", 2, 4, "Network 2 of 3"))
    log = log_of(tmp_path, (0.0, TrainingBegan("the model of the run", 1, 1)), *every, step)
    assert seconds_left(log, SETTINGS) == pytest.approx(80 * (1 - 1.5 / 3))


def test_before_two_epochs_nothing_is_promised(tmp_path: Path) -> None:
    assert duration(seconds_left(log_of(tmp_path, *epochs(10)), SETTINGS)) == "unknown"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (540, "9 min"), (7500, "2 h 5 min")]
)
def test_times_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_damaged_logs_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    valid = tmp_path / "run"
    valid.mkdir()
    report = EpochReport(1, 4, 0.5, metrics={"accuracy": 0.7})
    log_of(valid, (1.0, TrainingBegan("a", 1, 2)), (2.0, report), (3.0, Warned("odd")), (4.0, Ended()))

    def read(folder: Path) -> None:
        RunLog(folder).poll_all()

    counts = fuzz(read, {"log": valid}, tmp_path, 180)
    assert counts["refused"] == 0
    assert counts["read"] >= 1

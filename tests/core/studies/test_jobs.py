"""Progress of many trainings: counted, and estimated from what the same kind took before."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from napari_amil.core.base.events import EpochReport, Failed, Step, Warned
from napari_amil.core.studies import jobs
from napari_amil.core.studies.trials import Unit


@dataclass
class _Group:
    left: list[str] = field(default_factory=list)

    def units(self) -> list[str]:
        return self.left


def test_time_left_is_what_the_same_kinds_took(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 300.0, 300.0, 420.0])
    monkeypatch.setattr(jobs.time, "monotonic", lambda: next(clock))
    groups = [_Group(["encoder", "a", "b"]), _Group(["encoder", "a"])]
    progress = jobs._Progress(groups, 2)  # type: ignore[arg-type]
    assert progress.step("") == Step("study", 0, 5, "")
    heard = [
        *progress.heard(0, Unit("encoder", "encoder, fold 0")),
        *progress.heard(0, EpochReport(0, 7, 1.0)),
        *progress.heard(0, Unit("encoder", "encoder, fold 0", done=True)),
        *progress.heard(0, Unit("a", "a, fold 0")),
        *progress.heard(0, Unit("a", "a, fold 0", done=True)),
    ]
    assert [event.done for event in heard if isinstance(event, Step)] == [0, 0, 1, 1, 2]
    assert heard[1].message == "encoder, fold 0, epoch 1"
    # left: an encoder of 300 s, an a of 120 s, and a b of the mean, 210 s; two processes
    assert heard[-1].message == "a, fold 0; about 0 h 05 min left"


def test_a_failure_is_passed_on_and_counted() -> None:
    progress = jobs._Progress([_Group(["a"])], 1)  # type: ignore[arg-type]
    failed = Failed("a, fold 0, run 1", "no longer finite")
    assert list(progress.heard(0, failed)) == [failed]
    assert progress.step("") == Step("study", 1, 1, "")


def test_a_warning_is_said_once_for_all_folds() -> None:
    progress = jobs._Progress([_Group(["a"])], 1)  # type: ignore[arg-type]
    first = Warned("There are 56 control cells.")
    assert list(progress.heard(0, first)) == [first]
    assert list(progress.heard(0, Warned("There are 60 control cells."))) == []

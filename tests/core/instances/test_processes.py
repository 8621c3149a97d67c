"""Work in several processes: the bytes of one, a killed process loses one image, closing ends them."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from napari_amil.core.base.errors import DeviceError, MissingExtraError
from napari_amil.core.base.events import Event, Failed, Step, drain
from napari_amil.core.cohort.synth import SynthSettings, synthetic_smear
from napari_amil.core.images.read import find_images
from napari_amil.core.instances import processes
from napari_amil.core.instances.executor import Finished
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.processes import Processes, in_processes
from napari_amil.core.instances.sources import open_source
from napari_amil.core.scoring.detect import detect_images
from napari_amil.core.scoring.score_folder import score_cohort


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three small smears and a file that is none."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(3):
        smear = synthetic_smear(seed, SynthSettings(height=120, width=150, n_cells=6))
        PIL.Image.fromarray(smear.image).save(folder / f"{seed}.png")
    (folder / "1b.png").write_text("no image")
    return folder


def test_two_processes_write_the_bytes_of_one(recipe: Recipe, images: Path, tmp_path: Path) -> None:
    told: dict[int, list[Event]] = {}
    for jobs in (1, 2):
        told[jobs] = []
        own = replace(recipe, executor=Processes(jobs))
        work = score_cohort(open_source([images], "control"), own, None, tmp_path / str(jobs))
        drain(work, told[jobs].append)
    assert told[1] == told[2]
    assert [event.source for event in told[2] if isinstance(event, Failed)] == ["1b.png"]
    for file in ("cells.csv", "bags.csv", "cells.npz", "project.json"):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()


def test_a_killed_process_loses_one_image(
    recipe: Recipe, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_AHEAD", 1)
    failed, running = [], detect_images(find_images([images]), replace(recipe, executor=Processes(1)))

    def listen(event: Event) -> None:
        if isinstance(event, Step) and event.done == 1:
            for process in multiprocessing.active_children():
                process.kill()
        if isinstance(event, Failed):
            failed.append(event)

    found = drain(running, listen)
    assert len(found) == 2  # of three images and one file that is none
    lost = [event for event in failed if "signal SIGKILL" in event.reason]
    assert len(lost) == 1
    assert "give the command again" in lost[0].reason


def test_closing_ends_the_processes(recipe: Recipe, images: Path) -> None:
    running = detect_images(find_images([images]), replace(recipe, executor=Processes(2)))
    for _ in range(2):
        next(running)
    assert len(multiprocessing.active_children()) == 2
    running.close()
    assert multiprocessing.active_children() == []


def test_an_error_that_cannot_be_made_anew_keeps_its_sentence() -> None:
    error = MissingExtraError("zarr", "large")
    again = processes._portable(Finished(error=error)).error
    assert str(again) == str(error)


def test_jobs_want_the_processor_and_one_thread(recipe: Recipe) -> None:
    assert in_processes(recipe, None) is recipe
    with pytest.raises(DeviceError, match="add --device cpu"):
        in_processes(replace(recipe, device=torch.device("meta")), 2)
    threads = torch.get_num_threads()
    try:
        assert in_processes(recipe, 3).executor == Processes(3)
        assert torch.get_num_threads() == 1
        np.testing.assert_array_equal(np.ones(3) @ np.ones(3), 3)
    finally:
        torch.set_num_threads(threads)

"""Annotated images of any kind fine-tune a detector that other patients judge."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch
from skimage.draw import polygon

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import Event, Failed, Understood, Warned, drain
from napari_amil.core.base.settings import DetectorTrainingSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.cohort.synth import SynthSettings, synthetic_smear
from napari_amil.core.exchange.annotation import Annotation
from napari_amil.core.exchange.coco import write_coco
from napari_amil.core.exchange.geojson import read_geojson
from napari_amil.core.images.read import ImageSource, read_image
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.model.bundle import Bundle, load_bundle
from napari_amil.core.pipeline.annotated import (
    Annotated,
    Corrected,
    annotated_table,
    open_annotated,
    patient_of,
    validation_images,
    writing_annotated,
)
from napari_amil.core.pipeline.train_detector import FineTuned, detector_run, start_detector

BRIEF = DetectorTrainingSettings(steps=2, batch_size=1, crop_px=128, checkpoint_every=1, validation_share=0.5)


def write_labels(cells: Cells, shape: tuple[int, int], path: Path) -> None:
    labels = np.zeros(shape, np.uint8)
    for number, outline in enumerate(cells.outlines, start=1):
        labels[polygon(outline[:, 0] - 0.5, outline[:, 1] - 0.5, shape)] = number
    PIL.Image.fromarray(labels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Patients with an image each: labels, VOC boxes, one COCO file for all, and labels of another size."""
    root = tmp_path / "annotated"
    smears = {}
    for seed, patient in enumerate(("p1", "p2", "p3", "p4")):
        smear = synthetic_smear(seed, SynthSettings(height=160, width=200, n_cells=9))
        (root / patient).mkdir(parents=True)
        PIL.Image.fromarray(smear.image).save(root / patient / "field.png")
        smears[patient] = smear
    write_labels(smears["p1"].cells, (160, 200), root / "p1" / "field_labels.png")
    sides = ("ymin", "xmin", "ymax", "xmax")
    boxes = [
        "<object><bndbox>"
        + "".join(f"<{n}>{v:.0f}</{n}>" for n, v in zip(sides, box, strict=True))
        + "</bndbox></object>"
        for box in smears["p2"].cells.boxes
    ]
    (root / "p2" / "field.xml").write_text(f"<annotation>{''.join(boxes)}</annotation>")
    write_coco({"p3/field.png": ((160, 200), smears["p3"].cells)}, root / "cells.coco.json")
    write_labels(smears["p4"].cells, (100, 200), root / "p4" / "field_labels.png")
    return root


def tuned(folder: Path, recipe: Recipe, out: Path) -> tuple[FineTuned, list[Event]]:
    events: list[Event] = []
    return drain(detector_run(open_annotated([folder]), recipe, BRIEF, out), events.append), events


def test_a_mixed_folder_fine_tunes_a_detector(folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in recipe.bundle.need_detector().state_dict().items()}
    done, events = tuned(folder, recipe, tmp_path / "run")
    failed = {event.source: event.reason for event in events if isinstance(event, Failed)}
    assert list(failed) == ["p4/field.png"]
    assert (
        "labels of 'p4/field.png' are 200 x 100 pixels, but the image has 200 x 160" in failed["p4/field.png"]
    )
    images = pd.read_csv(tmp_path / "run" / "images.csv").set_index("image")
    assert images.index.tolist() == [f"p{i}/field.png" for i in (1, 2, 3, 4)]
    assert images["patient"].tolist() == ["p1", "p2", "p3", "p4"]
    assert (images["part"] == "validation").sum() == 2
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(metrics["before"]) == {
        "ap50",
        "ap50_95",
        "average_recall",
        "recall",
        "precision",
        "count_error",
    }
    assert metrics["after"]["ap50_95"] >= metrics["before"]["ap50_95"]
    assert done.bundle.card["detector"]["after"] == pytest.approx(metrics["after"], nan_ok=True)
    assert done.bundle.scorer is recipe.bundle.scorer
    assert set(done.bundle.card) <= {"intended_use", "detector", "scorer", "calibration"}
    if metrics["best_step"] == 0:
        after = done.bundle.need_detector().state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
    noted = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [event["epoch"] for event in noted if event["event"] == "EpochReport"] == [0, 1, 2]
    assert noted[-1]["event"] == "Ended"
    assert not (tmp_path / "run" / "process.json").exists()
    assert load_bundle(tmp_path / "run" / "bundle.safetensors").detector is not None
    _held_out_is_kept(tmp_path / "run", metrics)


def _held_out_is_kept(out: Path, metrics: dict[str, dict[str, float]]) -> None:
    listed = json.loads((out / "held-out.json").read_text())["images"]
    images = pd.read_csv(out / "images.csv")
    assert [each["image"] for each in listed] == images.loc[images["part"] == "validation", "image"].tolist()
    for name in ("before", "after"):
        right = sum(each[name]["n_right"] for each in listed)
        found = sum(each[name]["n_found"] for each in listed)
        assert metrics[name]["recall"] == pytest.approx(right / sum(each["n_annotated"] for each in listed))
        assert right <= found == sum(len(read_geojson(out / each[name]["cells"]).cells) for each in listed)
    assert all(Path(each["path"]).is_file() for each in listed)
    assert all(
        len(read_geojson(out / each["annotated"]).cells) == each["n_annotated"] == 9 for each in listed
    )


def test_corrected_images_become_an_annotated_folder(tmp_path: Path) -> None:
    smears = [synthetic_smear(seed, SynthSettings(height=120, width=140, n_cells=5)) for seed in (1, 2, 3)]
    names = [("field.jpg", "anna"), ("field.jpg", "anna"), ("stack.tif#2", "")]
    images = [
        Corrected(name, patient, lambda s=smear: s.image, smear.cells)  # type: ignore[misc]
        for smear, (name, patient) in zip(smears, names, strict=True)
    ]
    out = drain(writing_annotated(images, tmp_path / "annotated"))
    annotated = drain(open_annotated([out]))
    assert annotated.patients == {
        "field.tif": ("anna",),
        "field-2.tif": ("anna",),
        "stack.tif": ("stack",),
    }
    for smear, name in zip(smears, ("field.tif", "field-2.tif", "stack.tif"), strict=True):
        np.testing.assert_array_equal(read_image(out / name), smear.image)
        np.testing.assert_allclose(annotated.annotations[name].cells.boxes, smear.cells.boxes, atol=0.01)
    table = drain(annotated_table(out, 0.5))
    assert sorted(table["part"].unique()) == ["training", "validation"]
    assert table["n_cells"].tolist() == [5, 5, 5]
    with pytest.raises(CohortError, match="not an empty folder"):
        drain(writing_annotated(images, out))


def test_a_scorer_that_reads_feature_maps_leaves_with_its_detector(
    folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    settings = recipe.settings.changed({"model": {"encoder": "roi"}})
    done, events = tuned(folder, replace(recipe, settings=settings), tmp_path / "run")
    assert done.bundle.scorer is None
    assert any(
        "reads the feature maps of its old detector" in e.message for e in events if isinstance(e, Warned)
    )


def test_without_annotations_there_is_one_sentence(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (100, 80)).save(tmp_path / "a.png")
    with pytest.raises(CohortError, match=r"No image of .* carries an annotation .*--self-annotate"):
        drain(open_annotated([tmp_path]))
    with pytest.raises(
        CohortError, match=r"'.*a\.png' does not say where the annotations are; give one folder"
    ):
        drain(open_annotated([tmp_path / "a.png"]))


def test_a_cell_list_says_patients_folds_and_that_cells_are_missing(folder: Path) -> None:
    rows = ["bag,patient,label,fold,image,y0,x0,y1,x1"]
    rows += [f"b{i},who{i % 2},control,{i % 2},p{i}/field.png,10,10,50,50" for i in (1, 2, 3)]
    (folder / "bags.csv").write_text("\n".join(rows) + "\n")
    events: list[Event] = []
    annotated = drain(open_annotated([folder / "bags.csv"]), events.append)
    assert Understood("3 annotated images of 2 patients, 3 cells") in events
    assert annotated.patients == {
        "p1/field.png": ("who1",),
        "p2/field.png": ("who0",),
        "p3/field.png": ("who1",),
    }
    assert not any(annotation.complete for annotation in annotated.annotations.values())
    assert list(annotated.without_fold(1).images) == ["p2/field.png"]
    with pytest.raises(CohortError, match="Fold 7 cannot be held out: 0 of 3 images are in it"):
        annotated.without_fold(7)


def test_patients_csv_goes_before_folders(folder: Path) -> None:
    (folder / "patients.csv").write_text("image,patient,fold\np1/field.png,anna,0\np2/field.png,anna,\n")
    annotated = drain(open_annotated([folder]))
    assert annotated.patients["p1/field.png"] == annotated.patients["p2/field.png"] == ("anna",)
    assert annotated.patients["p3/field.png"] == ("p3",)
    assert annotated.annotations["p1/field.png"].fold == 0
    (folder / "patients.csv").write_text("image,who\np1/field.png,anna\n")
    with pytest.raises(CohortError, match=r"patients\.csv' needs the columns image and patient"):
        drain(open_annotated([folder]))


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("control/anna/1.png", "control/anna"),
        ("control/anna/monday/1.png", "control/anna"),
        ("anna/1.png", "anna"),
        ("images/anna/1.png", "anna"),
        ("images/1.png", "images/1.png"),
        ("stack.tif#3", "stack.tif"),
    ],
)
def test_the_folder_is_the_patient(name: str, patient: str) -> None:
    assert patient_of(name) == patient


def test_validation_takes_whole_patients_and_ties_those_who_share_an_image() -> None:
    cells = Annotation(Cells(np.array([[0, 0, 9, 9]], np.float32)))
    patients = {f"{i}": (f"p{i // 3}",) for i in range(30)} | {"shared": ("p0", "p1")}
    sources = {name: ImageSource(Path(name), 0, name) for name in patients}
    annotated = Annotated(sources, dict.fromkeys(patients, cells), patients)
    drawn = set()
    for seed in range(10):
        chosen = validation_images(annotated, 0.2, seed)
        whose = {patient for name in chosen for patient in patients[name]}
        rest = {patient for name in patients if name not in chosen for patient in patients[name]}
        assert not whose & rest
        assert 3 <= len(chosen) <= 9
        drawn.add(tuple(chosen))
    assert len(drawn) > 3
    assert validation_images(annotated, 0.2, 1) == validation_images(annotated, 0.2, 1)
    assert validation_images(annotated, 0, 1) == []
    assert validation_images(annotated.where(["0", "1"]), 0.5, 1) == []


def test_starts(tmp_path: Path, small_bundle: Bundle) -> None:
    assert start_detector("nothing", small_bundle.settings).detector is None
    starter = start_detector("starter", small_bundle.settings)
    assert starter.scorer is not None
    assert starter.backbone == "light"

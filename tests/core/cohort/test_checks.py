"""Every kind of leak, confounder and damage is found, and a sound cohort passes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from napari_amil.core.base.presets import preset
from napari_amil.core.base.types import Bag, Cells, Cohort
from napari_amil.core.cohort.checks import check_cohort
from napari_amil.core.cohort.layouts.registry import read_cohort


@pytest.fixture
def sound(tmp_path: Path) -> Cohort:
    """Six patients of two classes in three folds, each with one image and two cells."""
    rng = np.random.default_rng(0)
    bags = []
    for i in range(6):
        name = f"{i}.png"
        PIL.Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
        cells = {name: Cells(np.array([[0, 0, 40, 50], [1, 1, 9, 9]]))}
        bags.append(Bag(f"b{i}", f"p{i}", (name,), cells, label=("control", "sick")[i % 2], fold=i // 2))
    return Cohort(str(tmp_path), tuple(bags), ("control", "sick"))


def changed(cohort: Cohort, index: int, **changes: object) -> Cohort:
    bags = list(cohort.bags)
    bags[index] = replace(bags[index], **changes)
    return replace(cohort, bags=tuple(bags))


def found(cohort: Cohort) -> list[tuple[str, str]]:
    return [(problem.severity, problem.message) for problem in check_cohort(cohort, embedding_dim=0)]


def only(cohort: Cohort) -> tuple[str, str]:
    (problem,) = found(cohort)
    return problem


def test_a_sound_cohort_passes(sound: Cohort) -> None:
    assert found(sound) == []


def test_few_controls_are_warned_of(sound: Cohort) -> None:
    (problem,) = check_cohort(sound, embedding_dim=2)
    assert problem.severity == "warning"
    assert problem.message.startswith("There are 6 control cells, fewer than 10 for each of the 2 dimensions")
    (problem,) = check_cohort(sound)
    assert preset("recommended").model.embedding_dim == 48
    assert "for each of the 48 dimensions of the embedding" in problem.message


def test_a_patient_in_two_folds_or_classes(sound: Cohort) -> None:
    assert found(changed(sound, 4, patient="p2"))[0] == (
        "error",
        "Patient 'p2' is in fold 1 and in fold 2; put all bags of a patient in one fold.",
    )
    labels = [text for _, text in found(changed(sound, 1, patient="p0"))]
    assert "Patient 'p0' has the labels 'control' and 'sick'; give each patient one." in labels


def test_an_image_in_two_folds(sound: Cohort) -> None:
    leaking = changed(sound, 2, images=("0.png",), cells={"0.png": sound.bags[2].cells["2.png"]})
    assert only(leaking) == ("error", "Image '0.png' serves the folds 0 and 1; keep it in one of them.")


def test_copies_of_an_image_under_two_patients(sound: Cohort) -> None:
    root = Path(sound.root)
    (root / "2.png").write_bytes((root / "0.png").read_bytes())
    severity, message = only(sound)
    assert severity == "error"
    assert message.startswith(
        "'0.png' and '2.png' are copies of one image under the patients 'p0' and 'p2', in"
    )
    PIL.Image.open(root / "0.png").save(root / "2.png", compress_level=1)
    assert (root / "2.png").read_bytes() != (root / "0.png").read_bytes()
    assert only(sound) == (severity, message)
    unfolded = replace(sound, bags=tuple(replace(bag, fold=None) for bag in sound))
    assert only(unfolded)[0] == "warning"


def test_an_image_under_two_labels_is_an_error(sound: Cohort) -> None:
    twice = changed(sound, 1, images=("0.png",), cells={"0.png": sound.bags[1].cells["1.png"]})
    assert (
        "error",
        "Image '0.png' serves bags with the labels 'control' and 'sick'; one image shows one patient.",
    ) in found(twice)
    third = changed(twice, 2, label="control", images=("2.png", "1.png"))
    third = changed(third, 3, label="sick", images=("3.png", "1.png"))
    assert [m for _, m in found(third) if "serve bags" in m] == [
        "2 images ('0.png' and '1.png') serve bags with the labels 'control' and 'sick'; one image shows one "
        "patient.",
    ]
    root = Path(sound.root)
    (root / "1.png").write_bytes((root / "0.png").read_bytes())
    messages = [message for severity, message in found(sound) if severity == "error"]
    assert any(m.startswith("'0.png' and '1.png' are copies of one image and serve") for m in messages)


def smear(seed: int, tint: float = 0.0) -> np.ndarray:
    """Return dark discs on a bright ground, ``(240, 320, 3)`` uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:240, :320]
    image = np.full((240, 320, 3), 230.0)
    for centre_y, centre_x in rng.uniform((0, 0), (240, 320), (30, 2)):
        image[np.hypot(y - centre_y, x - centre_x) < 14] = (170, 110, 120)
    image[..., 0] -= 60 * tint
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("change", ["mirrored", "cropped", "turned", "saved anew"])
def test_altered_copies_under_two_patients(sound: Cohort, change: str) -> None:
    root = Path(sound.root)
    for i in range(6):
        PIL.Image.fromarray(smear(i)).save(root / f"{i}.png")
    assert not [m for _, m in found(sound) if "show the same cells" in m]
    image = PIL.Image.fromarray(smear(0))
    if change == "mirrored":
        image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT).save(root / "3.png")
    elif change == "cropped":
        image.crop((21, 13, 293, 217)).save(root / "3.png")
    elif change == "turned":
        image.transpose(PIL.Image.Transpose.ROTATE_90).save(root / "3.png")
    else:
        image.save(root / "3.jpg", quality=60)
        PIL.Image.open(root / "3.jpg").save(root / "3.png")
    (told,) = [(severity, m) for severity, m in found(sound) if "show the same cells" in m]
    assert told[0] == "error"
    assert told[1].startswith("'0.png' and '3.png' show the same cells")
    assert "'p0' and 'p3'" in told[1]


def test_fields_of_one_slide_under_several_patients(sound: Cohort) -> None:
    root, tints = Path(sound.root), np.random.default_rng(0).permutation(8) / 4
    for i in range(24):  # eight slides of three fields
        PIL.Image.fromarray(smear(i, tints[i // 3])).save(root / f"{i}.png")
    bag = sound.bags[0]
    dealt = [replace(bag, bag=f"b{i}", images=(f"{i}.png",), cells={}, fold=None) for i in range(24)]
    by_slide = replace(sound, bags=tuple(replace(bag, patient=f"p{i // 3}") for i, bag in enumerate(dealt)))
    assert not [m for _, m in found(by_slide) if "fields of one slide" in m]
    mixed = [replace(bag, patient=f"p{i % 8}") for i, bag in enumerate(dealt)]
    (told,) = [m for _, m in found(replace(sound, bags=tuple(mixed))) if "fields of one slide" in m]
    assert re.match("1[2-6] of 23 pairs of images", told)


def test_a_folder_name_in_two_classes_gets_a_hint(sound: Cohort) -> None:
    named = [replace(bag, patient=f"{bag.label}/{i // 2}") for i, bag in enumerate(sound.bags)]
    severity, message = only(replace(sound, bags=tuple(named)))
    assert severity == "warning"
    assert message.startswith("The folder(s) '0', '1' and '2' lie in two or more classes")


@pytest.mark.realdata
def test_fields_dealt_by_slide_raise_no_alarm_and_composed_patients_do(chula: Path) -> None:
    fields = read_cohort(chula / "fields.csv").where(lambda bag: bag.fold == 0)
    assert not [problem.message for problem in check_cohort(fields) if "leaking" in problem.kind]
    bags = read_cohort(chula / "bags.csv").where(lambda bag: bag.fold == 0)
    composed = [problem.message for problem in check_cohort(bags) if "leaking" in problem.kind]
    assert any("look like fields of one slide" in message for message in composed)


def test_small_classes(sound: Cohort) -> None:
    severity, message = only(sound.where(lambda bag: bag.bag != "b1"))
    assert severity == "warning"
    assert message.startswith("Class 'sick' has 2 patient(s), fewer than 3")


def test_one_control_patient_is_refused(sound: Cohort) -> None:
    one = sound.where(lambda bag: bag.label == "sick" or bag.bag == "b0")
    assert found(one) == [
        (
            "error",
            "The control class 'control' has 1 patient(s), so that none can be left out to say how unusual a "
            "distance is; add controls.",
        )
    ]


def test_empty_and_single_cell_bags(sound: Cohort) -> None:
    none = Cells(np.empty((0, 4)))
    assert only(changed(sound, 3, cells={"3.png": none})) == (
        "error",
        "Bag 'b3' is empty; add its images or remove it.",
    )
    assert only(changed(sound, 3, cells={"3.png": none, "1.png": sound.bags[1].cells["1.png"].take([0])}))[
        0
    ] == ("warning")


def test_missing_and_damaged_images(sound: Cohort) -> None:
    (Path(sound.root) / "1.png").unlink()
    (Path(sound.root) / "2.png").write_bytes(b"")
    texts = [text for severity, text in found(sound) if severity == "error"]
    assert len(texts) == 2
    assert "1.png' does not exist" in texts[0]
    assert "2.png' is empty" in texts[1]


def test_boxes_outside_the_image(sound: Cohort) -> None:
    outside = Cells(np.array([[0, 0, 41, 50], [-1, 0, 5, 5], [0, 0, 40, 50]]))
    severity, message = only(changed(sound, 5, cells={"5.png": outside}))
    assert severity == "error"
    assert message.startswith("2 box(es) of bag 'b5' reach outside '5.png' (50 x 40 pixels)")


@pytest.mark.parametrize(
    "box",
    [[0, 0, 40, 51], [0, 0, 41, 50], [-1, 0, 5, 5], [0, -1, 5, 5]],
    ids=["wide", "high", "above", "left"],
)
def test_a_box_beyond_any_side_is_named(sound: Cohort, box: list[int]) -> None:
    severity, message = only(changed(sound, 5, cells={"5.png": Cells(np.array([box, [0, 0, 40, 50]]))}))
    assert severity == "error"
    assert message.startswith("1 box(es) of bag 'b5' reach outside '5.png' (50 x 40 pixels)")


def test_classes_from_different_cameras(sound: Cohort) -> None:
    for i in (1, 3, 5):
        grey = np.full((64, 80, 3), i, dtype=np.uint8)
        PIL.Image.fromarray(grey).save(Path(sound.root) / f"{i}.png")
    severity, message = only(sound)
    assert severity == "warning"
    assert "'sick' (80 x 64 pixels" in message


def test_missing_clinical_values(sound: Cohort) -> None:
    assert only(changed(sound, 0, clinical={"AGE": 3.0}))[1].startswith("5 bag(s), such as 'b1', have no")

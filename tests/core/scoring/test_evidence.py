"""What stands behind the scores of a field is what the parts of the pipeline say of its cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from napari_amil.core.anomaly.channels import LATENT, MORPH
from napari_amil.core.anomaly.control_sample import ControlSample
from napari_amil.core.anomaly.joint import JointDistance
from napari_amil.core.anomaly.morphology.statistics import ControlMorphology
from napari_amil.core.anomaly.morphology.words import morphology_in_words
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Step, drain
from napari_amil.core.cohort.synth import synthetic_smear
from napari_amil.core.evaluation.faithfulness import N_DRAWS, SHARES
from napari_amil.core.instances.control_cells import morphology_columns
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.model.scorer import Scorer
from napari_amil.core.scoring.evidence import delete_from_field, field_evidence, nearest_cells
from napari_amil.core.scoring.score import measured_field, score_bag

Known = tuple[dict[str, np.ndarray], Recipe, pd.DataFrame]


@pytest.fixture
def known(recipe: Recipe, with_morphology: Callable[[Scorer, ControlMorphology], Scorer]) -> Known:
    """Evidence of a field of which two cells are cut, with the recipe that made it and its table."""
    smear = synthetic_smear(0)
    cut = np.zeros(len(smear.cells), bool)
    cut[[1, 5]] = True
    cells = replace(smear.cells, touches_border=cut)
    seen = drain(measured_field(smear.image, cells, recipe))
    statistics = ControlMorphology.fit(seen["measurements"])
    scorer = replace(
        with_morphology(recipe.bundle.need_scorer(), statistics),
        controls=ControlSample.from_cells(
            torch.randn(30, 8),
            np.tile([0.0, 0.0, 9.0, 9.0], (30, 1)),
            [f"{i}.png" for i in range(30)],
            np.stack([np.full((3, 16, 16), 8 * i, np.uint8) for i in range(30)]),
        ),
    )
    full = replace(recipe, bundle=replace(recipe.bundle, scorer=scorer))
    table = score_bag("b", {"i": cells}, seen, full)[0].table
    table = table.join(morphology_columns(seen["measurements"], scorer.anomaly.morphology))
    table.insert(0, "cell_id", cells.cell_id)
    return field_evidence(table, seen["latents"], full, "m"), full, table


def test_only_scored_cells_are_known(known: Known) -> None:
    evidence, _, table = known
    assert set(table["cell_id"]) - set(evidence["cell_id"].tolist()) == set(table["cell_id"][[1, 5]])
    np.testing.assert_array_equal(evidence["anomaly"], table["anomaly"].dropna())


def test_the_words_are_those_of_the_row(known: Known) -> None:
    evidence, recipe, table = known
    control = recipe.bundle.need_scorer().anomaly.morphology
    rows = table.set_index("cell_id")
    said = [[word for word in words if word] for words in evidence["words"]]
    expected = [morphology_in_words(rows.loc[i].to_dict(), control) for i in evidence["cell_id"]]
    assert said == expected
    assert any(said)


def test_the_look_and_the_measurements_of_an_unusual_cell_are_told_apart(known: Known) -> None:
    _, recipe, table = known
    latent, shape = np.exp([[0.0, 1.0], [0.0, 1.0]])
    joint = JointDistance.fit([latent, shape], [0.5, 0.5], [True, False])  # both: mean 0.5, deviation 0.5
    scorer = recipe.bundle.need_scorer()
    scorer = replace(scorer, anomaly=replace(scorer.anomaly, joint=joint, joined=(LATENT, MORPH)))
    measured = replace(recipe, bundle=replace(recipe.bundle, scorer=scorer))
    told = table.assign(latent_distance=np.exp(0.5 + 0.5 * 2.0), morph_distance=np.exp(0.5))
    told.loc[told.index[0], "latent_distance"] = np.exp(0.5)
    evidence = field_evidence(told, np.zeros((len(table), 1, 8), np.float32), measured, "m")
    line = "look: more unusual than 97.7 % of control cells; measurements: than 50 %"
    assert (evidence["words"][1:, 0] == line).all()
    assert not evidence["words"][0, 0].startswith("look")


def test_of_a_box_without_a_cell_the_words_say_so(known: Known) -> None:
    _, recipe, table = known
    empty = table.copy()
    morphology = [name for name in table if name.startswith("morph_")]
    empty.loc[empty.index[0], morphology] = np.nan
    words = field_evidence(empty, np.zeros((len(table), 1, 8), np.float32), recipe, "m")["words"]
    assert words[0].tolist() == ["no whole cell is seen in its box, so nothing is measured"] + [""] * 5
    assert not any("no whole cell" in word for word in words[1:].ravel())


def test_the_pictures_are_those_of_the_nearest_controls(known: Known) -> None:
    evidence, recipe, _ = known
    controls = recipe.bundle.need_scorer().controls
    rows, distance = controls.nearest(torch.from_numpy(evidence["z"]), 5)
    shown = evidence["control_image"][evidence["control"]]
    assert shown.tolist() == [[f"{i}.png" for i in near] for near in rows]
    np.testing.assert_allclose(evidence["control_distance"], distance)
    grey = evidence["control_picture"][evidence["control"][0, 0]].mean()
    assert grey == pytest.approx(8 * rows[0, 0], abs=3)


def test_a_bundle_without_controls_shows_none(known: Known) -> None:
    _, recipe, table = known
    scorer = recipe.bundle.need_scorer()
    latent = {LATENT: scorer.anomaly.channels[LATENT]}
    bare = replace(scorer, controls=None, anomaly=replace(scorer.anomaly, channels=latent))
    old = replace(recipe, bundle=replace(recipe.bundle, scorer=bare))
    latents = np.zeros((len(table), 1, 8), np.float32)
    evidence = field_evidence(table, latents, old, "m")
    assert evidence["control"].shape == (len(evidence["cell_id"]), 0)
    assert (evidence["words"] == "").all()


def test_levels_of_controls_are_their_percentiles(known: Known) -> None:
    evidence, recipe, _ = known
    calibration = recipe.bundle.need_scorer().anomaly.calibration
    for level, distance in evidence["control_level"]:
        assert calibration.percentile(np.array([distance]))[0] >= level
        assert calibration.percentile(np.array([distance - 1e-6]))[0] < level + 1


def test_the_nearest_of_each_group_come_first_and_the_cell_itself_never() -> None:
    def field(ids: list[int], z: list[float], model: str = "m") -> dict[str, np.ndarray]:
        return {"cell_id": np.array(ids), "z": np.array(z)[:, None], "model": np.array(model)}

    groups = {
        "ill": {"a": field([1, 2, 3], [0.0, 5.0, 1.0]), "b": field([1], [0.5])},
        "well": {"c": field([7, 8], [-3.0, 9.0]), "other": field([1], [0.0], "another model")},
    }
    found = nearest_cells(("a", 1), groups, 2)
    assert found == {"ill": [("b", 1, 0.5), ("a", 3, 1.0)], "well": [("c", 7, 3.0), ("c", 8, 9.0)]}
    with pytest.raises(AmilError, match="Cell 9 of 'a' has no scores"):
        nearest_cells(("a", 9), groups)


def test_cells_are_removed_from_the_field_that_was_scored(known: Known) -> None:
    evidence, recipe, _ = known
    events: list[object] = []
    found = drain(delete_from_field(evidence, recipe), events.append)
    steps = [event for event in events if isinstance(event, Step)]
    assert [step.done for step in steps] == list(range(4 + N_DRAWS))
    z, distance = torch.from_numpy(evidence["z"]), torch.from_numpy(evidence["anomaly"]).float()
    model, classes = recipe.bundle.need_scorer().model, recipe.bundle.need_scorer().classes
    with torch.no_grad():
        whole = model.aggregate(z, torch.tensor([len(z)]), distance).logits[0].softmax(0)
    assert found["predicted"] == classes[int(whole.argmax())]
    assert found["shares"] == SHARES.tolist()
    assert set(found["probability"]) == {"anomaly", "attention", "pool_weight", "contribution", "random"}
    for curve in found["probability"].values():
        assert curve[0] == pytest.approx(float(whole.max()), abs=1e-5)
    assert set(found["areas"]) >= {"probability_area_contribution", "logit_area_anomaly"}

"""The scores of a bag: exact sums, half cells apart, nothing lost between tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_amil.core.anomaly.channels import LATENT
from napari_amil.core.anomaly.gaussian.channel import LatentDistance
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Failed, Warned, drain
from napari_amil.core.base.types import UNSEEN
from napari_amil.core.cohort.synth import SynthCohortSettings, synthetic_smear, write_synthetic_cohort
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import open_source
from napari_amil.core.pipeline.evaluate import evaluate_scored, name_unknown_labels
from napari_amil.core.scoring.score import measured_field, score_bag, score_source


def test_contributions_and_bias_add_up_to_the_logit(recipe: Recipe) -> None:
    smear = synthetic_smear(0)
    scores, bag = score_bag(
        "b", {"i": smear.cells}, drain(measured_field(smear.image, smear.cells, recipe)), recipe
    )
    for name in ("control", "ill"):
        total = scores.table[f"contribution_{name}"].sum() + bag.bias[name]
        assert total == pytest.approx(bag.logit[name], abs=1e-5)
    scored = scores.table[scores.table["status"] == "scored"]
    assert scored["attention"].sum() == pytest.approx(1, abs=1e-5)
    assert scored["attention_x_n"].mean() == pytest.approx(1, abs=1e-5)
    assert sum(bag.probability.values()) == pytest.approx(1)
    assert bag.n_cells == len(scored)


def test_every_score_has_its_error_and_every_bag_its_verdict(recipe: Recipe) -> None:
    smear = synthetic_smear(0)
    known = drain(measured_field(smear.image, smear.cells, recipe))
    scores, bag = score_bag("b", {"i": smear.cells}, known, recipe)
    errors = scores.table[["anomaly_se", "anomaly_percentile_se"]]
    assert (errors[~smear.cells.touches_border] >= 0).all(axis=None)
    assert 0 < bag.novelty_p <= 1
    assert bag.row()["verdict"] == bag.verdict
    far = known.copy()
    far["latents"] += 1e3
    never = recipe.settings.changed({"verdict": {"novelty": 0.0, "min_probability": 0.0}})
    assert score_bag("b", {"i": smear.cells}, far, recipe)[1].verdict == UNSEEN
    silent = replace(recipe, settings=never)
    said = score_bag("b", {"i": smear.cells}, far, silent)[1]
    assert said.verdict == said.predicted


def test_a_bundle_that_knows_no_novelty_says_so_and_scores_all_the_same(
    recipe: Recipe, tmp_path: Path
) -> None:
    scorer = recipe.bundle.need_scorer()
    channels = {LATENT: LatentDistance(scorer.anomaly.settings, scorer.anomaly.gaussian)}  # without moments
    scorer = replace(scorer, anomaly=replace(scorer.anomaly, channels=channels, novelty=None))
    old = replace(recipe, bundle=replace(recipe.bundle, scorer=scorer))
    listed = write_synthetic_cohort(tmp_path / "cohort", SynthCohortSettings(patients=1, samples=1))
    events: list[object] = []
    scored = drain(score_source(open_source([listed], "control"), old), events.append)
    assert sum("novelty_p" in event.message for event in events if isinstance(event, Warned)) == 1
    assert scored.bags["novelty_p"].isna().all()
    assert (scored.bags["verdict"] == scored.bags["predicted"]).all()
    assert scored.cells["anomaly_se"].isna().all()


def test_half_cells_stay_out_of_the_bag(recipe: Recipe) -> None:
    smear = synthetic_smear(0)
    touches = np.zeros(len(smear.cells), dtype=bool)
    touches[[1, 5]] = True
    cells = replace(smear.cells, touches_border=touches)
    known = drain(measured_field(smear.image, cells, recipe))
    scores, bag = score_bag("b", {"i": cells}, known, recipe)
    numbers = scores.table.drop(columns="status")
    assert numbers.loc[[1, 5]].isna().all(axis=None)
    assert numbers.drop(index=[1, 5]).notna().all(axis=None)
    assert (scores.table["status"] == np.where(touches, "unscored", "scored")).all()
    inner, same_bag = score_bag("b", {"i": cells.take(~touches)}, known[~touches], recipe)
    np.testing.assert_allclose(inner.table["anomaly"], scores.table["anomaly"][~touches])
    assert same_bag.logit == pytest.approx(bag.logit)
    all_cut = replace(cells, touches_border=np.ones(len(cells), dtype=bool))
    with pytest.raises(AmilError, match="no whole cell"):
        score_bag("b", {"i": all_cut}, known, recipe)


def test_order_of_cells_does_not_matter(recipe: Recipe) -> None:
    smear = synthetic_smear(1)
    cells = replace(smear.cells, touches_border=np.zeros(len(smear.cells), bool))
    known = drain(measured_field(smear.image, cells, recipe))
    order = np.random.default_rng(0).permutation(len(cells))
    scores, bag = score_bag("b", {"i": cells}, known, recipe)
    shuffled, shuffled_bag = score_bag("b", {"i": cells.take(order)}, known[order], recipe)
    assert shuffled_bag.logit == pytest.approx(bag.logit, abs=1e-5)
    np.testing.assert_allclose(
        shuffled.table["pool_weight"], scores.table["pool_weight"].to_numpy()[order], atol=1e-6
    )


def test_a_cohort_is_scored_once_per_cell_with_a_bad_image_named(recipe: Recipe, tmp_path: Path) -> None:
    listed = write_synthetic_cohort(tmp_path / "cohort", SynthCohortSettings(patients=3, samples=1))
    source = open_source([listed], "control")
    victim = source.cohort.bags[0]
    (tmp_path / "cohort" / victim.images[0]).write_text("no image")
    events: list[object] = []
    scored = drain(score_source(source, recipe), events.append)
    failed = [event for event in events if isinstance(event, Failed)]
    assert {event.source for event in failed} == {victim.images[0], victim.bag}
    assert len(scored.bags) == len(source.cohort) - 1
    assert len(scored.cells) == sum(bag.n_cells for bag in source.cohort.bags[1:])
    assert set(scored.cells["cell_type"]) >= {"normal", "elliptocyte"}
    small = recipe.bundle.need_scorer().classes
    (warned,) = name_unknown_labels(scored, small)
    left_out = [bag.label for bag in source.cohort.bags[1:] if bag.label not in small]
    assert warned.message.startswith(f"{len(left_out)} of {len(scored.bags)} bags have a label")
    assert all(str(label) in warned.message for label in left_out)
    metrics = evaluate_scored(scored, small)
    assert metrics["n_bags"] == sum(bag.label in small for bag in source.cohort.bags[1:])
    assert 0 <= metrics["cell_auroc_anomaly"] <= 1
    assert metrics["null_n_units"] == len(set(scored.bags.loc[scored.bags.label == "control", "patient"]))
    assert 0 <= metrics["null_share_q05"] <= metrics["null_share_p05"] <= 1
    assert metrics["held_out_over_in_sample"] > 0


def test_loose_images_are_bags_of_their_own(recipe: Recipe, tmp_path: Path) -> None:
    write_synthetic_cohort(tmp_path / "cohort", SynthCohortSettings(patients=1))
    folder = next((tmp_path / "cohort" / "control").iterdir())
    source = open_source([folder], "control")
    assert [bag.bag for bag in source.cohort] == ["s0/0.png", "s1/0.png"]
    assert all(not bag.n_cells for bag in source.cohort)
    folder_cohort = open_source([tmp_path / "cohort"], "control")
    assert folder_cohort.cohort.classes[0] == "control"
    assert len(folder_cohort.cohort.classes) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bag_with_an_embedding_that_is_not_finite_fails_and_gets_no_class(
    recipe: Recipe, value: float
) -> None:
    smear = synthetic_smear(0)
    known = drain(measured_field(smear.image, smear.cells, recipe))
    known["latents"][np.flatnonzero(~smear.cells.touches_border)[0]] = value
    with pytest.raises(AmilError, match="'b' has no scores, since the embedding of a cell is not finite"):
        score_bag("b", {"i": smear.cells}, known, recipe)


def test_a_network_with_a_weight_that_is_not_finite_fails_for_every_bag(recipe: Recipe) -> None:
    smear = synthetic_smear(0)
    known = drain(measured_field(smear.image, smear.cells, recipe))
    with torch.no_grad():
        next(recipe.bundle.need_scorer().model.heads.parameters()).fill_(torch.nan)
    with pytest.raises(AmilError, match="since the logit is not finite"):
        score_bag("b", {"i": smear.cells}, known, recipe)

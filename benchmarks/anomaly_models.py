"""Anomaly scores of cells on the held-out slides of Chula RBC-12: kinds found, lesions located, cost.

Usage: python -m benchmarks.anomaly_models CHULA_SLIDES --out FOLDER [--only NAME ...] [--steps N]
       [--seed 0] [--most 150] [--cell-epochs 20] [--test-fold 2] [--draw NAME ...]

All networks learn from cells of the control bags of folds 0 and 1; the embedding learns from these bags and
from those of two diseases, so that the kinds of the other two, and macrocytes, are left out. Tested are
labelled cells of fold 2: the area under the ROC curve of each kind against the normal cells. Lesions
are planted in normal cells of fold 2 (`planted_lesions`); a score points at a lesion if its hottest pixel
lies in it; the false area is the share of a healthy cell hotter than the pixel that 5 % of the pixels of
healthy training cells reach. Seconds are those of the processor, of one thread. What was computed lies in
FOLDER and is not done again; the table is made of all that lies there. ``--draw`` writes pictures of a
network that was trained. ``NAME+maddr`` is a network with domain constraints (MADDR), the slide of a cell its
domain. ``--test-fold 0`` or ``1`` leaves fold 2 alone: networks learn from the other of both, for choices;
it needs a FOLDER of its own. Scores of the tested cells lie in ``scores-SEED.npz``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from napari_amil.core.anomaly.channels import LATENT, MORPH, RECONSTRUCTIONS, SCORERS
from napari_amil.core.anomaly.joint import JointDistance
from napari_amil.core.anomaly.patients import parts_of_patients
from napari_amil.core.anomaly.reconstruction.scorer import PerceptualScorer, ReconstructionScorer
from napari_amil.core.anomaly.scorer import CellInputs, CellScorer
from napari_amil.core.base.events import EpochReport, Event, drain
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.cohort.layouts.registry import read_cohort
from napari_amil.core.cohort.planted_lesions import LESIONS, plant_lesions
from napari_amil.core.instances.extract import Recipe, measured_instances
from napari_amil.core.instances.gather import gather
from napari_amil.core.instances.sources import cohort_source
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.instances import crops_of, measurements_of, sizes_of
from napari_amil.core.mil.model import AmilModel, embed_all
from napari_amil.core.model.bundle import Bundle
from napari_amil.core.scoring.redraw import heat_picture
from napari_amil.core.training.loop import fit_encoder

CPU = torch.device("cpu")
KNOWN_CLASSES = ("control", "hs_like", "scd_like")
KNOWN_KINDS = ("spherocyte", "schistocyte", "elliptocyte", "ovalocyte", "teardrop")
LEFT_OUT_KINDS = ("target", "hypochromia", "microcyte", "stomatocyte", "burr", "macrocyte")
NORMAL = "normal"
DRAWN_KINDS = (NORMAL, "spherocyte", "target", "stomatocyte", "hypochromia", "burr")
_TRAINED = {0: (1,), 1: (0,), 2: (0, 1)}
"""Folds that a test on another fold learns from; fold 2 is never learned from."""
_CONSTRAINED = "+maddr"
_NETWORKS = [name + end for name in RECONSTRUCTIONS for end in ("", _CONSTRAINED)]
_N_LESION_CELLS = 120
_BORDER_PX = 2  # a box nearer to the border of its image holds a cut cell
_KEY = ["image", "y0", "x0", "y1", "x1"]


@dataclass(frozen=True, eq=False)
class BenchmarkCells:
    """Cells of all folds, measured and cropped, with the bags of folds 0 and 1.

    Parameters
    ----------
    table
        One row per cell: ``image, slide, fold, cell_type, control`` (of a control bag of the training).
    values
        ``(n_cells,)`` as `measured_instances`.
    """

    table: pd.DataFrame
    values: NDArray[Any]

    def inputs(self, rows: NDArray[np.int64], latents: torch.Tensor | None = None) -> CellInputs:
        """Return the inputs of anomaly scores for some cells."""
        values = self.values[rows]
        patients = self.table["slide"].to_numpy(np.str_)[rows]
        return CellInputs(
            None if latents is None else latents[torch.from_numpy(rows)],
            measurements_of(values),
            crops_of(values),
            patients,
            domains={"slide": patients},
        )


def known_bags(given: argparse.Namespace) -> pd.DataFrame:
    """Return the bags of the known classes of the folds that are trained on, one row per cell."""
    bags = pd.read_csv(given.folder / "bags.csv")
    return bags[bags["fold"].isin(_TRAINED[given.test_fold]) & bags["label"].isin(KNOWN_CLASSES)]


def chosen_cells(given: argparse.Namespace, seed: int) -> pd.DataFrame:
    """Return the cells of the bags of the training, and at most ``most`` of each kind of the test fold."""
    most, bags = given.most, known_bags(given)
    trained = bags.drop_duplicates(_KEY)[[*_KEY, "slide", "fold", "cell_type"]]
    control = bags[bags["label"] == "control"].drop_duplicates(_KEY)[_KEY].assign(control=True)
    trained = trained.merge(control, on=_KEY, how="left")
    cells = pd.read_csv(given.folder / "cells.csv")
    cells = cells[(cells["fold"] == given.test_fold) & (cells["cell_type"] != "uncategorised")]
    shuffled = cells.drop_duplicates(_KEY).sample(frac=1.0, random_state=seed)
    limit = np.where(shuffled["cell_type"] == NORMAL, 4 * most, most)
    tested = shuffled[shuffled.groupby("cell_type").cumcount() < limit]
    table = pd.concat([trained, tested[[*_KEY, "slide", "fold", "cell_type"]]], ignore_index=True)
    return table.assign(control=table["control"].eq(True))


def measured_cells(given: argparse.Namespace) -> BenchmarkCells:
    """Return the cells, measured once and kept in ``out``."""
    folder, out = given.folder, given.out
    kept, listed = out / "cells.npy", out / "cells.csv"
    if not kept.exists():
        table = chosen_cells(given, seed=0)
        cohort_file = folder / "bags.csv"
        cells = table.assign(bag=table["slide"], patient=table["slide"], label="control")
        cells.to_csv(out / "list.csv", index=False)
        cohort = replace(read_cohort(out / "list.csv", "control"), root=str(cohort_file.parent))
        channels = {"model": {"channels": [LATENT, MORPH, next(iter(RECONSTRUCTIONS))]}}
        settings = RunSettings().changed(channels)
        recipe = Recipe.for_training(Bundle(settings), settings, CPU)
        gathered = drain(gather(cohort_source(cohort), recipe, measured_instances))
        found = pd.DataFrame(gathered.boxes, columns=_KEY[1:]).assign(
            image=gathered.images, row=np.arange(len(gathered.values))
        )
        table = found.merge(table, on=_KEY, how="left").sort_values("row").drop(columns="row")
        np.save(kept, gathered.values)
        table.to_csv(listed, index=False)
    table = pd.read_csv(listed)
    sizes = {name: Image.open(folder / name).size for name in table["image"].unique()}
    width, height = (table["image"].map(lambda name, i=i: sizes[name][i]) for i in (0, 1))
    first = table[["y0", "x0"]].min(axis=1) < _BORDER_PX
    cut = first | (table["y1"] > height - _BORDER_PX) | (table["x1"] > width - _BORDER_PX)
    table = table.assign(cut=cut)
    return BenchmarkCells(table, np.load(kept, mmap_mode=None))


def embedded(given: argparse.Namespace, cells: BenchmarkCells) -> torch.Tensor:
    """Return the embeddings of all cells by an encoder trained on the known classes, kept in ``out``."""
    kept = given.out / f"latents-{given.seed}.npy"
    if not kept.exists():
        schedule = {"seed": given.seed, "cell_epochs": given.cell_epochs}
        settings = RunSettings().changed({"training": schedule})
        bags = known_bags(given)
        at = cells.table[_KEY].assign(row=np.arange(len(cells.table)))
        rows = bags.merge(at, on=_KEY, how="inner").groupby("bag", sort=False)
        first = rows.first()
        arrays = BagArrays(
            cells.values,
            tuple(np.unique(own["row"].to_numpy(np.int64)) for _, own in rows),
            np.array([KNOWN_CLASSES.index(label) for label in first["label"]], dtype=np.int64),
            tuple(first["patient"]),
            KNOWN_CLASSES,
            "control",
        )
        weights = drain(fit_encoder(arrays, settings, CPU), print_epoch)
        model = AmilModel(settings.model, len(KNOWN_CLASSES), *sizes_of(cells.values))
        model.load_state_dict(model.state_dict() | weights)
        np.save(kept, embed_all(model.eval(), cells.values, CPU).numpy())
    return torch.from_numpy(np.load(kept)).double()


def print_epoch(event: Event) -> None:
    """Print epochs."""
    if isinstance(event, EpochReport):
        print(f"epoch {event.epoch + 1}/{event.n_epochs} loss {event.train_loss:.4f}", flush=True)


def areas(score: NDArray[Any], types: NDArray[np.str_]) -> dict[str, float]:
    """Return the area under the ROC curve of each kind against normal cells; unknown scores are left out."""
    found = {}
    for kind in sorted({*KNOWN_KINDS, *LEFT_OUT_KINDS} & set(types)):
        rows = np.isin(types, [kind, NORMAL]) & np.isfinite(score)
        found[kind] = float(roc_auc_score(types[rows] == kind, score[rows]))
    return found


def localisation(scorer: ReconstructionScorer, healthy: CellInputs, reference: CellInputs) -> dict[str, Any]:
    """Return measures of how well the difference from the twin localises planted lesions.

    Parameters
    ----------
    healthy
        Cells of the test in which lesions are planted.
    reference
        Control cells of the training, which set the threshold of the false area.
    """
    assert healthy.pixels is not None
    inside = [cells.pixels[:, 3] > 0 for cells in (healthy, reference)]  # type: ignore[index]
    limit = float(np.nanquantile(scorer.redraw(reference).heat[inside[1]], 0.95))
    rows = {}
    for name in LESIONS:
        planted = plant_lesions(healthy.pixels, name)
        heat = scorer.redraw(CellInputs(pixels=planted.pixels)).heat
        hits, pixel_areas = [], []
        for i in np.flatnonzero(planted.planted):
            place = (planted.pixels[i, 3] > 0) | planted.lesion[i]
            values, truth = np.where(place, heat[i], -1.0), planted.lesion[i]
            if not np.isfinite(heat[i]).all() or truth[place].all():
                continue
            hits.append(bool(truth[np.unravel_index(values.argmax(), values.shape)]))
            pixel_areas.append(roc_auc_score(truth[place], heat[i][place]))
        rows[name] = {"pointing": float(np.mean(hits)), "pixel_area": float(np.mean(pixel_areas))}
    false_area = float(np.nanmean(scorer.redraw(healthy).heat[inside[0]] > limit))
    lesions = {key: float(np.mean([r[key] for r in rows.values()])) for key in ("pointing", "pixel_area")}
    return lesions | {"false_area": false_area, "lesions": rows}


def timed(scorer: CellScorer, controls: CellInputs, seed: int) -> float:
    """Fit a score and return the seconds of the processor."""
    started = time.process_time()
    drain(scorer.fit(controls, seed, CPU), print_epoch)
    return time.process_time() - started


def judged(scorer: CellScorer, cells: CellInputs, types: NDArray[np.str_]) -> dict[str, Any]:
    """Return areas and milliseconds a cell."""
    started = time.process_time()
    score = scorer.score(cells)
    return {"ms": 1000 * (time.process_time() - started) / len(cells), "areas": areas(score, types)}


def keep_scores(given: argparse.Namespace, fresh: dict[str, NDArray[Any]]) -> None:
    """Add scores to the file of scores."""
    path = given.out / f"scores-{given.seed}.npz"
    before = dict(np.load(path)) if path.exists() else {}
    np.savez(path, **(before | fresh))


def one_network(name: str, given: argparse.Namespace, cells: BenchmarkCells) -> dict[str, Any]:
    """Train a network on the control cells and return its row."""
    kind, domains = name.removesuffix(_CONSTRAINED), ["slide"] if name.endswith(_CONSTRAINED) else []
    changes: dict[str, Any] = {"domains": domains} | ({"steps": given.steps} if given.steps else {})
    settings = RunSettings().changed({"model": {"networks": {kind: changes}}}).model
    controls, test, healthy = split(cells, given.test_fold)
    scorer = RECONSTRUCTIONS[kind](settings)
    kept = given.out / f"{name}-{given.seed}.pt"
    if kept.exists():
        scorer.load_state_dict(torch.load(kept, weights_only=True))
        known = json.loads((given.out / f"rows-{given.seed}.json").read_text())[name]
        seconds, steps = known["seconds"], known["steps"]
    else:
        seconds, steps = timed(scorer, cells.inputs(controls), given.seed), scorer.network.steps
        torch.save(scorer.state_dict(), kept)
    types = cells.table["cell_type"].to_numpy(np.str_)[test]
    keep_scores(given, {name: scorer.score(cells.inputs(test))})
    perceptual = scorer.source if isinstance(scorer, PerceptualScorer) else "none"
    weights = sum(weight.numel() for weight in scorer.net.parameters())
    row = {"seconds": seconds, "perceptual": perceptual, "weights": weights}
    row |= {"steps": steps, "size_px": scorer.network.size_px}
    row |= judged(scorer, cells.inputs(test), types)
    return row | localisation(scorer, cells.inputs(healthy), cells.inputs(controls[:300]))


def draw(name: str, given: argparse.Namespace, cells: BenchmarkCells) -> None:
    """Write cells of some kinds of the test, their twins and the differences as ``<name>.png``."""
    scorer = RECONSTRUCTIONS[name.removesuffix(_CONSTRAINED)](RunSettings().model)
    scorer.load_state_dict(torch.load(given.out / f"{name}-{given.seed}.pt", weights_only=True))
    table, lines = cells.table, []
    crops = crops_of(cells.values)
    assert crops is not None
    inside = ~table["cut"].to_numpy() & (crops[:, 3] > 0).any(axis=(1, 2))
    for kind in DRAWN_KINDS:
        rows = np.flatnonzero((table["fold"] == given.test_fold) & (table["cell_type"] == kind) & inside)[:4]
        drawn = scorer.redraw(cells.inputs(rows))
        colours = np.moveaxis(crops[rows, :3], 1, 3)
        heats = [heat_picture(cell, heat) for cell, heat in zip(colours, drawn.heat, strict=True)]
        parts = [colours, drawn.twin, np.stack(heats)]
        parts += [] if drawn.memory is None else [drawn.memory]
        lines.append(np.concatenate([part[i] for i in range(len(rows)) for part in parts], axis=1))
    widest = max(line.shape[1] for line in lines)
    padded = [np.pad(x, ((0, 0), (0, widest - x.shape[1]), (0, 0)), constant_values=255) for x in lines]
    Image.fromarray(np.concatenate(padded)).save(given.out / f"{name}.png")


def split(
    cells: BenchmarkCells, test_fold: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of control cells, of the test, and of healthy cells of the test for lesions."""
    table = cells.table
    test = np.flatnonzero(table["fold"] == test_fold)
    healthy = test[table["cell_type"].to_numpy()[test] == NORMAL]
    crops = crops_of(cells.values)
    assert crops is not None
    seen = (crops[healthy, 3] > 0).any(axis=(1, 2))
    return np.flatnonzero(table["control"]), test, healthy[seen][:_N_LESION_CELLS]


def baselines(given: argparse.Namespace, cells: BenchmarkCells) -> dict[str, dict[str, Any]]:
    """Return the rows of the Gaussian, the measurements and both joined."""
    latents = embedded(given, cells)
    settings, (controls, test, _) = RunSettings().model, split(cells, given.test_fold)
    types = cells.table["cell_type"].to_numpy(np.str_)[test]
    known, tested = cells.inputs(controls, latents), cells.inputs(test, latents)
    part = parts_of_patients(known.patients, 5) if known.patients is not None else None
    assert part is not None
    rows, held_out, scores = {}, [], []
    for name in (LATENT, MORPH):
        scorer = SCORERS[name](settings)
        seconds = timed(scorer, known.without_patients(), given.seed)
        rows[name] = {"seconds": seconds, **judged(scorer, tested, types)}
        held = np.full(len(known), np.nan)
        for number in range(5):
            partial = SCORERS[name](settings)
            timed(partial, known.take(part != number).without_patients(), given.seed)
            held[part == number] = partial.score(known.take(part == number))
        held_out.append(held[np.isfinite(held)])
        scores.append(scorer.score(tested))
        keep_scores(given, {name: scores[-1], f"held-out {name}": held})
    joint = JointDistance.fit(held_out, [0.5, 0.5], [True, False])
    rows["joint"] = {"areas": areas(joint.distance(scores), types)}
    return rows


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    kinds = [
        kind for kind in (*KNOWN_KINDS, *LEFT_OUT_KINDS) if all(kind in r["areas"] for r in rows.values())
    ]
    head = ["score", "known", "left out", *kinds, "points", "pixels", "false area", "s to train", "ms a cell"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, row in rows.items():
        means = [
            np.nanmean([row["areas"][k] for k in kinds if k in part])
            for part in (KNOWN_KINDS, LEFT_OUT_KINDS)
        ]
        numbers = [f"{value:.3f}" for value in (*means, *(row["areas"][kind] for kind in kinds))]
        numbers += [
            f"{row[key]:.2f}" if key in row else "" for key in ("pointing", "pixel_area", "false_area")
        ]
        numbers += [
            f"{row['seconds']:.0f}" if "seconds" in row else "",
            f"{row['ms']:.1f}" if "ms" in row else "",
        ]
        lines.append(f"| {name} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the chosen comparisons and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=["baselines", *_NETWORKS])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=150)
    parser.add_argument("--test-fold", type=int, default=2, choices=list(_TRAINED))
    parser.add_argument("--draw", nargs="*", default=[])
    parser.add_argument("--cell-epochs", type=int, default=20)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    cells = measured_cells(given)
    for name in given.draw:
        draw(name, given, cells)
    kept = given.out / f"rows-{given.seed}.json"
    for name in given.only:
        found = baselines(given, cells) if name == "baselines" else {name: one_network(name, given, cells)}
        rows = json.loads(kept.read_text()) if kept.exists() else {}
        kept.write_text(json.dumps(rows | found, indent=1))
        print(table(rows | found), flush=True)


if __name__ == "__main__":
    main()

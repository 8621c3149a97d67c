"""Cell types from a few named cells, on slides without a name and on the slide that was named.

Usage: python -m benchmarks.cell_typing CHULA_SLIDES [--scored FOLDER] [--bundle FILE] [--fold 2] [--names 20]

The labelled cells are scored (or taken from --scored, a folder that this wrote). Every slide of the fold
is predicted by a classifier that saw ``--names`` random cells of each type: of all other slides, or of the
same slide (at most half of the cells of a type there; the rest is predicted). Against it: the commonest type
of the named cells, and the classifier on measurements alone or on the embedding alone. The curve counts names
on other slides: dealt evenly over the types, which needs the types to be known; of random cells, so that
common types get most; or of cells that the program asks for (`worth_naming`, 20 at a time) after the first of
these random ones. A type with fewer than three names is not known. Macro F1 over the types, of the cells of
all slides together; mean and standard deviation over ``--seeds`` draws.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

from napari_amil import load_results, score
from napari_amil.core.cell_types.classifier import FEWEST, TypeClassifier
from napari_amil.core.cell_types.features import feature_names, features_of, parts_of
from napari_amil.core.cell_types.named_cells import named_rows
from napari_amil.core.cell_types.suggestions import worth_naming

N_TYPES = 9
CURVE = (5, 10, 20, 40)


class Cells:
    """Features, given types and slides of the whole labelled cells of the commonest types."""

    def __init__(self, folder: Path, scored: Path, bundle: Path | None) -> None:
        if not (scored / "project.json").exists():
            score(folder / "images", bundle, cells=folder / "cells.csv", out=scored, progress=True)
        results = load_results(scored)
        given = pd.read_csv(folder / "cells.csv")
        given["image"] = given["image"].str.removeprefix("images/")
        names, _ = named_rows(results.cells, given)
        common = pd.Series(names[names != ""]).value_counts().index[:N_TYPES]
        kept = np.isin(names, common) & (results.cells["status"] == "scored").to_numpy()
        own = results.cells[kept]
        self.table = own
        self.names = names[kept]
        self.values = features_of(own, results.embeddings[kept])
        self.features = feature_names(results.embeddings.shape[1])
        slides = dict(zip(given["image"], given["slide"], strict=True))
        folds = dict(zip(given["image"], given["fold"], strict=True))
        self.slides = own["image"].map(slides).to_numpy(dtype=str)
        self.folds = own["image"].map(folds).to_numpy()


def drawn(cells: Cells, rows: np.ndarray, n_names: int, rng: np.random.Generator) -> np.ndarray:
    """Return up to ``n_names`` random rows of each type."""
    types = np.unique(cells.names[rows])
    parts = [rng.permutation(rows[cells.names[rows] == name])[:n_names] for name in types]
    return np.concatenate([part for part in parts if len(part) >= FEWEST] or [np.empty(0, np.int64)])


def known(cells: Cells, rows: np.ndarray) -> np.ndarray:
    """Return those of the named rows whose types have enough names."""
    types, counts = np.unique(cells.names[rows], return_counts=True)
    return rows[np.isin(cells.names[rows], types[counts >= FEWEST])]


def at_random(cells: Cells, rows: np.ndarray, n_names: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``n_names`` times the number of types random rows, whatever their types."""
    return known(cells, rng.permutation(rows)[: n_names * N_TYPES])


def asked(cells: Cells, rows: np.ndarray, n_names: int, rng: np.random.Generator) -> np.ndarray:
    """Return as many rows as `at_random`, the first random, the others asked for by the program."""
    chosen, wanted = rng.permutation(rows)[: CURVE[0] * N_TYPES], min(n_names * N_TYPES, len(rows))
    while len(chosen) < wanted:
        named = known(cells, chosen)
        fitted = TypeClassifier.fit(cells.values[named], cells.names[named], cells.features)
        free = np.setdiff1d(rows, chosen)
        new = worth_naming(fitted, cells.values, free, min(20, wanted - len(chosen)))
        chosen = np.concatenate([chosen, new])
    return known(cells, chosen)


CHOICES = {"even": drawn, "random": at_random, "asked": asked}


def predicted(cells: Cells, train: np.ndarray, test: np.ndarray, part: str) -> np.ndarray:
    """Return predicted types of the test cells from the features of a part, ``all`` or ``majority``."""
    if part == "majority":
        values, counts = np.unique(cells.names[train], return_counts=True)
        return np.full(len(test), values[counts.argmax()])
    chosen = np.ones(len(cells.features), bool) if part == "all" else parts_of(cells.features)[part]
    features = tuple(np.array(cells.features)[chosen])
    fitted = TypeClassifier.fit(cells.values[train][:, chosen], cells.names[train], features)
    return fitted.predict(cells.values[test][:, chosen], abstain=False)


def macro_f1(cells: Cells, fold: list[int], part: str, how: tuple[str, int, str], seed: int) -> float:
    """Return the macro F1 over all slides of the folds; ``how``: where names are, how many, how chosen."""
    where, n_names, choice = how
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for slide in np.unique(cells.slides[np.isin(cells.folds, fold)]):
        here = np.flatnonzero(cells.slides == slide)
        if where == "other":
            pool, test = np.flatnonzero(cells.slides != slide), here
            if len(fold) > 1:  # a choice: the test fold stays out of sight
                pool = pool[np.isin(cells.folds[pool], fold)]
        else:
            types, counts = np.unique(cells.names[here], return_counts=True)
            halves = dict(zip(types, counts // 2, strict=True))
            parts = [
                drawn(cells, here[cells.names[here] == t], halves[t], rng)
                for t in types
                if halves[t] >= FEWEST
            ]
            if len(parts) < 2:
                continue
            pool = np.concatenate(parts)
            test = np.setdiff1d(here[np.isin(cells.names[here], np.unique(cells.names[pool]))], pool)
        train = CHOICES[choice](cells, pool, n_names, rng)
        truth.append(cells.names[test])
        found.append(predicted(cells, train, test, part))
    types = np.unique(np.concatenate(truth))
    return float(
        f1_score(np.concatenate(truth), np.concatenate(found), labels=types, average="macro", zero_division=0)
    )


def main() -> None:
    """Print the table and, as JSON, every value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--scored", type=Path, default=Path("typed"))
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--fold", type=int, nargs="+", default=[2])
    parser.add_argument("--names", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    cells = Cells(options.data, options.scored, options.bundle)
    rows = [
        ("other", options.names, "even", part) for part in ("majority", "measurements", "embedding", "all")
    ]
    rows += [
        ("same", options.names, "even", part) for part in ("majority", "measurements", "embedding", "all")
    ]
    rows += [("other", n, choice, "all") for n in CURVE for choice in CHOICES]
    lines = []
    for where, n_names, choice, part in rows:
        how = where, n_names, choice
        scores = [macro_f1(cells, options.fold, part, how, seed) for seed in range(options.seeds)]
        line = {"names_on": where, "names_a_type": n_names, "chosen": choice, "features": part}
        lines.append(
            line | {"macro_f1": round(float(np.mean(scores)), 3), "sd": round(float(np.std(scores)), 3)}
        )
        print(lines[-1], flush=True)
    inside = np.isin(cells.folds, options.fold)
    counted = dict(
        zip(*(part.tolist() for part in np.unique(cells.names[inside], return_counts=True)), strict=True)
    )
    print(json.dumps({"cells": counted, "slides": len(np.unique(cells.slides[inside])), "rows": lines}))


if __name__ == "__main__":
    main()

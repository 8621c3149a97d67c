"""Repeat a run from its receipt, and compare the results of two runs number by number."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file

from napari_amil.core.base.arrays import read_arrays
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import file_sha256, read_json
from napari_amil.core.base.outputs import environment
from napari_amil.core.base.receipt import RECEIPT, STARTER, fingerprint, summary
from napari_amil.core.exchange.project import Project
from napari_amil.core.exchange.tables import load_table
from napari_amil.core.model.card import starter_path

_OF_THE_RUN = frozenset(
    {"events.jsonl", "process.json", "environment.json", "project.json", "failures.csv", "run.yaml", RECEIPT}
)
"""Files that hold times, places and versions, which differ between equal runs."""
_RESULTS = frozenset({".csv", ".parquet", ".npz", ".npy", ".safetensors", ".json", ".geojson", ".tif"})
_UNFINISHED = ("checkpoint", "parts/", "detected/")


@dataclass(frozen=True)
class Difference:
    """Difference between two runs in one file.

    Parameters
    ----------
    file
        Its name in the folder of the run.
    text
        The difference in words; empty where all is equal bit for bit.
    largest
        Largest absolute difference of a number; infinite where they cannot be compared.
    """

    file: str
    text: str = ""
    largest: float = 0.0


def replay_words(run: Path, out: Path) -> tuple[list[str], list[str]]:
    """Return the words of the command that made a run, now into ``out``, and the differences here.

    A path is looked for at its old place relative to the folder of the run, then at its absolute one.

    Raises
    ------
    AmilError
        If the folder holds no receipt, or an input is missing or has another content.
    """
    if not (run / RECEIPT).is_file():
        raise AmilError(f"'{run}' holds no {RECEIPT}; only runs of this version or later can be repeated.")
    receipt = read_json(run / RECEIPT)
    if not isinstance(receipt, dict) or not receipt.get("command"):
        raise AmilError(f"'{run / RECEIPT}' does not say which command was given; repeat it by hand.")
    words = []
    for word in receipt["command"]:
        if isinstance(word, str):
            words.append(word)
        elif word.get("is_out"):
            words.append(str(out))
        else:
            words.append(str(_place(word["relative"], run, word["path"])))
    for relative, known in receipt["inputs"].items():
        place = starter_path() if relative == STARTER else _place(relative, run, None)
        if fingerprint(place) != known:
            raise AmilError(
                f"The input '{place}' has another content than when the run was made; put it back."
            )
    here, there = environment(), receipt.get("versions", {})
    notes = [
        f"{name} is {here.get(name, 'missing')}, was {there[name]}"
        for name in there
        if here.get(name) != there[name]
    ]
    return words, notes


def _place(relative: str, run: Path, absolute: str | None) -> Path:
    """Return the present path of an input."""
    places = [Path(os.path.normpath(run.resolve() / relative))]
    places += [Path(absolute)] if absolute else []
    for place in places:
        if place.exists():
            return place
    raise AmilError(
        f"The input '{relative}' is not where it was, relative to '{run}'; copy inputs and run together."
    )


def with_receipt(project: Project, scored: Path) -> Project:
    """Return a project whose card says what its scoring used, where a receipt does."""
    if not (scored / RECEIPT).is_file():
        return project
    return replace(project, card=project.card | {"used": summary(read_json(scored / RECEIPT))})


def compare_runs(before: Path, after: Path) -> list[Difference]:
    """Return the difference of each result between two runs; figures and texts are left out.

    Raises
    ------
    AmilError
        If the first holds no results.
    """
    names = sorted(_results(before))
    if not names:
        raise AmilError(f"'{before}' holds no results to compare with.")
    found = []
    for name in names:
        if not (after / name).is_file():
            found.append(Difference(name, "was not written again", np.inf))
        elif file_sha256(before / name) == file_sha256(after / name):
            found.append(Difference(name))
        else:
            found.append(_difference(name, before / name, after / name))
    return found


def _results(run: Path) -> Iterator[str]:
    for path in run.rglob("*"):
        name = path.relative_to(run).as_posix()
        left_out = any(part.startswith(".") for part in Path(name).parts) or path.name in _OF_THE_RUN
        left_out |= any(mark in name for mark in _UNFINISHED)
        if path.is_file() and path.suffix in _RESULTS and not left_out:
            yield name


def _difference(name: str, before: Path, after: Path) -> Difference:
    """Return the difference of two files whose bytes differ."""
    old, new = (dict(_numbers(path)) for path in (before, after))
    if set(old) != set(new):
        odd = sorted(set(old) ^ set(new))[0]
        return Difference(name, f"'{odd}' is in one of the two alone", np.inf)
    worst, where = 0.0, ""
    for key, values in old.items():
        other = new[key]
        if values.shape != other.shape:
            return Difference(name, f"'{key}' has {values.shape} and {other.shape} values", np.inf)
        if values.dtype.kind not in "biufc":
            if (values != other).any():
                return Difference(name, f"'{key}' has other words", np.inf)
            continue
        a, b = values.astype(np.float64), other.astype(np.float64)
        if (np.isnan(a) != np.isnan(b)).any():
            return Difference(name, f"'{key}' is missing in other places", np.inf)
        apart = float(np.nanmax(np.abs(a - b), initial=0.0))
        if apart > worst:
            worst, where = apart, key
    return Difference(name, f"'{where}' differs by up to {worst:.3g}" if worst else "", worst)


def _numbers(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of a file by name."""
    if path.suffix in {".csv", ".parquet"}:
        table = load_table(path)
        yield from ((str(name), _column(table[name])) for name in table)
    elif path.suffix == ".npz":
        yield from read_arrays(path).items()
    elif path.suffix == ".npy":
        yield "array", np.load(path, allow_pickle=False)
    elif path.suffix == ".safetensors":
        yield from load_file(path).items()
        with safe_open(path, "numpy") as file:
            for key, text in (file.metadata() or {}).items():
                yield from _leaves(json.loads(text) if text.startswith("{") else text, f"header/{key}")
    elif path.suffix in {".json", ".geojson"}:
        yield from _leaves(read_json(path), "")
    else:
        yield "bytes", np.frombuffer(path.read_bytes(), np.uint8)


def _column(column: pd.Series) -> NDArray[Any]:
    numeric = pd.api.types.is_numeric_dtype(column)
    return np.asarray(column.to_numpy(np.float64) if numeric else column.astype(str).to_numpy(np.str_))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, NDArray[Any]]]:  # noqa: ANN401
    """Yield the numbers and texts of JSON by the way to them, without how long something took."""
    if isinstance(value, dict):
        for key, one in value.items():
            if key != "seconds":
                yield from _leaves(one, f"{name}/{key}")
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _leaves(one, f"{name}/{number}")
    elif isinstance(value, int | float):
        yield name, np.array(float(value))
    else:
        yield name, np.array(str(value))

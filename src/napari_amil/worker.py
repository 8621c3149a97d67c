"""The child process that does what needs torch: one JSON request a line in, events and results out.

``{"event": "Ready"}`` is said once the networks can be used. A request has an ``id``, which every
answer repeats, and a ``job``: ``detect``, ``score`` or ``info``. Arrays travel through files, so
that a line stays short. Killing the process is how a job is cancelled.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from napari_amil.core import pipeline
from napari_amil.core.errors import AmilError
from napari_amil.core.events import Event, Step, drain, to_dict
from napari_amil.core.settings import RunSettings
from napari_amil.core.types import Cells, Image

Request = dict[str, Any]
Job = Callable[[Request], Generator[Event, None, dict[str, Any]]]
_SECONDS_BETWEEN_STEPS = 0.1


@lru_cache(maxsize=2)
def _bundle(path: Path, _written: float) -> pipeline.Bundle:
    return pipeline.load_bundle(path)


def _recipe(request: Request) -> pipeline.Recipe:
    settings = RunSettings.parse(request.get("settings") or {})
    device = pipeline.pick_device(request.get("device", "auto"))
    path = _bundle_path(request)
    written = path.stat().st_mtime if path.exists() else 0.0  # a file that is written anew is read anew
    return pipeline.Recipe.of(_bundle(path, written), settings, device)


def _bundle_path(request: Request) -> Path:
    return Path(request["bundle"]) if request.get("bundle") else pipeline.starter_path()


def _image(request: Request) -> Image:
    path = Path(request["image"])
    return np.load(path, allow_pickle=False) if path.suffix == ".npy" else pipeline.read_image(path)


def detect(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Find the candidates of ``image`` and write them to ``out``; ``source`` may tell the pixel size."""
    recipe = _recipe(request)
    if request.get("source"):
        recipe = yield from pipeline.recipe_for(recipe, Path(request["source"]), Path(request["source"]).name)
    if Path(request["image"]).suffix == ".npy":
        candidates = yield from pipeline.detect_field(_image(request), recipe)
    else:
        with pipeline.open_field(Path(request["image"])) as field:
            candidates = yield from pipeline.detect_in(field, recipe)
    target = Path(request["out"]) / f"candidates-{request['id']}.npz"
    np.savez(target, allow_pickle=False, **candidates.cells.arrays())
    return {"candidates": str(target), "diameter_px": candidates.diameter_px}


def score(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Score the ``cells`` of ``image`` as one bag and write the columns to ``out``."""
    recipe = _recipe(request)
    with np.load(request["cells"], allow_pickle=False) as stored:
        cells = Cells.from_arrays(stored)
    yield Step("score", 0, 2, "Embedding cells")
    known = pipeline.measured_field(_image(request), cells, recipe)
    yield Step("score", 1, 2, "Weighing cells")
    scores, bag = pipeline.score_bag("image", {"image": cells}, known["latents"], recipe)
    target = Path(request["out"]) / f"scores-{request['id']}.csv"
    usual = recipe.bundle.need_scorer().morphology
    table = scores.table.join(pipeline.morphology_columns(known["measurements"], usual))
    table.insert(0, "cell_id", cells.cell_id)
    pipeline.write_table(table, target)
    said = {name: getattr(bag, name) for name in ("predicted", "probability", "logit", "bias", "verdict")}
    counts = {name: getattr(bag, name) for name in ("n_cells", "anomaly_p95", "anomalous_fraction")}
    return {"scores": str(target), "bag": {**said, **counts}, "classes": list(bag.probability)}


def info(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Return the card of a bundle."""
    header = pipeline.read_card(_bundle_path(request))
    yield from ()
    return {"card": header["card"], "settings": header["settings"], "classes": header.get("classes", [])}


JOBS: dict[str, Job] = {"detect": detect, "score": score, "info": info}


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer requests until the stream ends; a job that fails answers with one sentence."""

    def say(**record: Any) -> None:  # noqa: ANN401
        replies.write(json.dumps(record) + "\n")
        replies.flush()

    say(event="Ready")
    for line in requests:
        request = json.loads(line)
        number = request["id"]

        def tell(event: Event, number: int = number) -> None:
            say(id=number, **to_dict(event))

        try:
            result = drain(JOBS[request["job"]](request), _slowed(tell))
        except AmilError as error:
            say(id=number, event="Error", message=str(error))
        except Exception as error:  # noqa: BLE001 - the window must hear of every failure
            say(id=number, event="Error", message=f"The work stopped: {type(error).__name__}: {error}.")
        else:
            say(id=number, event="Result", **result)


def _slowed(say: Callable[[Event], None]) -> Callable[[Event], None]:
    """Return ``say`` with at most ten steps a second; other events always pass."""
    last = -1.0

    def passed(event: Event) -> None:
        nonlocal last
        now = time.monotonic()
        if (
            isinstance(event, Step)
            and event.done < event.total
            and now - last < _SECONDS_BETWEEN_STEPS
            and last > 0
        ):
            return
        last = now
        say(event)

    return passed


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)

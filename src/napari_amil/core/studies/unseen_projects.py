"""Write the test of an open-set study as scored folders, and compare their clusters with the truth."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from napari_amil.core.anomaly.morphology.statistics import ControlMorphology
from napari_amil.core.base.checkpoint import read_checkpoint
from napari_amil.core.base.columns import BOX_COLUMNS, PROBABILITY, column_name
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Warned
from napari_amil.core.base.names import file_name
from napari_amil.core.base.outputs import environment
from napari_amil.core.base.types import box_outline
from napari_amil.core.evaluation.clusters import ClusterSettings
from napari_amil.core.evaluation.unseen import UnseenTest
from napari_amil.core.exchange.project import Project, write_project
from napari_amil.core.instances.control_cells import morphology_columns
from napari_amil.core.mil.instances import sizes_of
from napari_amil.core.mil.model import AmilModel, embed_all
from napari_amil.core.studies.cells import StudyCells
from napari_amil.core.studies.explore import EXPLORATION, compare_with_truth, explore_project
from napari_amil.core.studies.plan import StudyPlan
from napari_amil.core.studies.trials import Trial


def unseen_project(plan: StudyPlan, trial: Trial, test: UnseenTest) -> Project:
    """Return the test bags of a trial as a project: cells, embeddings and their table of bags.

    The embeddings are those of the encoder that was trained without the class, ``cell_id`` numbers the
    cells of the study, so that a cell of several bags has one id, and ``anomaly_percentile`` is
    ``100 (1 - p)``.
    """
    opened, bags = plan.opened(trial)
    rows = np.concatenate([opened.bags.rows[bag] for bag in bags])
    train = np.unique(np.concatenate([opened.bags.rows[bag] for bag in plan.controls(trial)]))
    cells = test.cell_table()
    cells.insert(0, "cell_id", rows + 1)
    cells["anomaly_percentile"] = 100 * (1 - cells["anomaly_p"])
    measured = opened.inputs.measurements
    assert measured is not None
    shapes = morphology_columns(measured[rows], ControlMorphology.fit(measured[train]))
    cells = pd.concat([cells, shapes.drop(columns="morph_distance")], axis=1)
    table = test.bag_table(trial.settings.verdict)
    table.insert(1, "patient", opened.table["patient"].to_numpy()[bags])
    likely = table[[column_name(PROBABILITY, name) for name in test.known]].to_numpy(np.float64)
    table["predicted"] = np.array(test.known)[likely.argmax(axis=1)]
    table["anomaly_p95"] = cells.groupby("bag")["anomaly"].quantile(0.95).reindex(table["bag"]).to_numpy()
    outlines = tuple(box_outline(box) for box in cells[BOX_COLUMNS].to_numpy(np.float32))
    return Project(
        cells,
        table,
        _embeddings(opened, trial, rows, len(test.known)),
        outlines,
        _card(plan, trial, test),
    )


def _embeddings(
    opened: StudyCells, trial: Trial, rows: NDArray[np.int64], n_classes: int
) -> NDArray[np.float32]:
    """Return the mean learned embedding ``(n_cells, k)`` of stored cells."""
    assert trial.encoder is not None
    instances = opened.seen_by(trial.settings).instances
    settings = trial.settings.model.model_copy(update={"clinical": "none"})
    model = AmilModel(settings, n_classes, *sizes_of(instances))
    model.load_state_dict(model.state_dict() | read_checkpoint(trial.encoder)[0])
    each, which = np.unique(rows, return_inverse=True)
    latents = model.learned(embed_all(model, instances[each], torch.device("cpu")).mean(dim=1))
    return np.asarray(latents.numpy()[which], dtype=np.float32)


def _card(plan: StudyPlan, trial: Trial, test: UnseenTest) -> dict[str, object]:
    files = {name: [str(file.resolve()), page] for name, (file, page) in plan.source.files.items()}
    return {
        "bundle": {"file": f"{trial.row}, {trial.place}", "sha256": "", "card": {"left_out": test.unseen}},
        "settings": trial.settings.model_dump(mode="json"),
        "root": str(Path(plan.source.cohort.root).resolve()),
        "control": test.control,
        "classes": list(test.known),
        "images": files,
        "versions": environment(),
        "done": {},
        "failed": {},
    }


def exploring_unseen(
    plan: StudyPlan, tests: dict[str, list[tuple[Trial, UnseenTest]]], out: Path
) -> Generator[Event, None, pd.DataFrame]:
    """Keep the test of each class that was left out as a scored folder, and look for the class in it.

    Every ``scored-<class>`` opens in the window, ``exploration`` in it holds the clusters. The table has
    two lines per class and fold: all samples looked into at once, and only those whose label is not among
    the classes of the training. It tells purity and completeness of the best cluster against the abnormal
    cell types of the class, and of all clusters together of which more than half is of these types.
    Where cell types are not known, it is empty.
    """
    lines: list[dict[str, object]] = []
    for name, folds in tests.items():
        for trial, test in folds:
            if trial.encoder is None or not trial.encoder.exists():
                yield Warned(
                    f"{trial.row}: its encoder was trained together with the bags and not kept, so the cells "
                    "cannot be explored."
                )
                continue
            of_class = f"scored-{file_name(name)}"
            folder = out / (of_class if len(folds) == 1 else f"{of_class}-fold-{trial.fold}")
            project = unseen_project(plan, trial, test)
            write_project(project, folder)
            for samples, unexplained in (("all", False), ("unexplained", True)):
                here = folder / (EXPLORATION if unexplained else f"{EXPLORATION}-all")
                try:
                    settings = ClusterSettings(unexplained=unexplained)
                    found = yield from explore_project(project, settings, here)
                    truth = compare_with_truth(project, found, "cell_type", name, here)
                except AmilError as error:
                    yield Warned(f"{trial.row}, {trial.place}, {samples} samples: {error}")
                    continue
                lines.append({"unseen": name, "fold": trial.fold, "samples": samples, **_line(truth)})
    return pd.DataFrame(lines)


def _line(truth: pd.DataFrame) -> dict[str, object]:
    """Return the row of one class from its table of agreement."""
    best, together = truth.iloc[0], truth.iloc[-1]
    kept = ("n_cells", "purity", "completeness", "f1")
    line: dict[str, object] = {"n_clusters": len(truth) - 1, "cluster": best["cluster"]}
    line |= {name: best[name] for name in kept}
    return line | {f"together_{name}": together[name] for name in kept}

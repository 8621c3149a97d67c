"""Open-set study: leave a class out of the training and look for it in the test."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image as PillowImage

from napari_amil.core.base.columns import BOX_COLUMNS, PLACE_COLUMNS, scores_for
from napari_amil.core.base.errors import CohortError, ImageError
from napari_amil.core.base.events import Event, Failed, Step
from napari_amil.core.base.files import replacing
from napari_amil.core.base.names import file_name
from napari_amil.core.base.outputs import environment, make_folder, write_json, write_text
from napari_amil.core.base.types import Image
from napari_amil.core.evaluation.contact_sheet import contact_sheet, cut
from napari_amil.core.evaluation.figures import save_figure
from napari_amil.core.evaluation.score_figures import draw_against_control, draw_distributions
from napari_amil.core.evaluation.unseen import (
    UnseenTest,
    cell_areas,
    odd_and_normal,
    unseen_markdown,
    unseen_table,
)
from napari_amil.core.exchange.tables import write_table
from napari_amil.core.images.read import read_image
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source
from napari_amil.core.studies.jobs import running
from napari_amil.core.studies.plan import StudyPlan, StudyProtocol
from napari_amil.core.studies.trials import Trial
from napari_amil.core.studies.unseen_projects import exploring_unseen

EVERY = "all"
"""Leave out every class but the control class, one after the other."""
_N_SHOWN, _COLUMNS, _SIDE_PX = 32, 8, 96  # cells of a contact sheet


def unseen(
    source: Source, recipe: Recipe, out: Path, leave_out: str, protocol: StudyProtocol
) -> Generator[Event, None, pd.DataFrame]:
    """Leave classes out of every training, and test on the held-out folds with all classes.

    ``out`` gets ``table.csv`` and ``table.md``; for each class ``cells-<class>.csv`` and
    ``bags-<class>.csv`` of the first run; and in ``figures`` the distributions of the scores in every
    class, the cells of the unseen class against control cells, and its most anomalous cells side by
    side; ``scored-<class>``, the test as a scored folder with its exploration, and ``clusters.csv``, how
    purely and completely each class was found as a cluster. What is done lies in ``out/work``.

    Parameters
    ----------
    recipe
        Detector, settings and device.
    leave_out
        Name of a class, or ``all``.

    Raises
    ------
    CohortError
        If there is no such class, or it cannot be left out.
    """
    source = protocol.source(source)
    plan = StudyPlan(source, protocol, out / "work")
    yield from plan.guard(recipe.settings)
    names = {f"without {name}": name for name in _left_out(source, leave_out)}
    for row, name in names.items():
        yield from plan.add(row, recipe.settings, recipe, unseen=name)
    write_text(recipe.settings.to_yaml(), make_folder(out) / "run.yaml")
    write_json(environment(), out / "environment.json")
    yield from running(plan.groups(), protocol.jobs, recipe.device.type)
    yield from plan.missing()
    tests = {
        names[row]: {run: [_test(plan, trial) for trial in trials] for run, trials in runs.items()}
        for row, runs in plan.complete().items()
        if runs
    }
    table = unseen_table(tests, recipe.settings.verdict)
    write_table(table, out / "table.csv")
    write_text(unseen_markdown(table), out / "table.md")
    first = {names[row]: runs[min(runs)] for row, runs in plan.complete().items() if runs}
    pairs = {name: list(zip(first[name], runs[min(runs)], strict=True)) for name, runs in tests.items()}
    clusters = yield from exploring_unseen(plan, pairs, out)
    write_table(clusters, out / "clusters.csv")
    for name, runs in tests.items():
        folds, of_class = runs[min(runs)], file_name(name)
        bags = pd.concat([test.bag_table(recipe.settings.verdict) for test in folds], ignore_index=True)
        cells = pd.concat([test.cell_table() for test in folds], ignore_index=True)
        write_table(bags, out / f"bags-{of_class}.csv")
        write_table(cells, out / f"cells-{of_class}.csv")
        _draw(cells, name, source, out / "figures")
        sheet = yield from _sheet(cells[cells["label"] == name], source, name)
        with replacing(out / "figures" / f"cells-{of_class}.png") as partial:
            PillowImage.fromarray(sheet).save(partial, format="PNG")
    return table


def _left_out(source: Source, leave_out: str) -> list[str]:
    """Return the classes to leave out, one after the other."""
    cohort = source.cohort
    diseases = [name for name in cohort.classes if name != cohort.control]
    listed = ", ".join(diseases)
    if len(diseases) < 2:
        raise CohortError(
            f"Without one of the classes ({listed}) the control class would be alone; add more."
        )
    if leave_out != EVERY and leave_out not in diseases:
        raise CohortError(f"The class '{leave_out}' cannot be left out; choose all or one of: {listed}.")
    return diseases if leave_out == EVERY else [leave_out]


def _test(plan: StudyPlan, trial: Trial) -> UnseenTest:
    """Return the scores of the bags of one fold, with their true labels."""
    opened, bags = plan.opened(trial)
    cohort = plan.source.cohort
    known = tuple(name for name in cohort.classes if name != trial.unseen)
    names, labels = (opened.table[column].to_numpy()[bags] for column in ("bag", "label"))
    cells = opened.cells_of(bags)
    return UnseenTest(str(trial.unseen), cohort.control, known, names, labels, cells, trial.read())


def _draw(cells: pd.DataFrame, name: str, source: Source, folder: Path) -> None:
    """Write the figures of one class that was left out."""
    cohort = source.cohort
    shown = cells.assign(label=cells["label"].where(cells["label"] != name, f"{name} (unseen)"))
    classes = [f"{name} (unseen)" if label == name else label for label in cohort.classes]
    of_class = file_name(name)
    save_figure(
        draw_distributions(shown, classes, cohort.control, scores_for("draw", cells)),
        folder / f"scores-{of_class}",
    )
    odd, typical = odd_and_normal(cells, name, cohort.control)
    groups = {
        "control bags": typical & (cells["label"] == cohort.control).to_numpy(),
        f"normal cells of {name}": typical & (cells["label"] == name).to_numpy(),
        f"{name}, never seen": odd,
    }
    values = {
        title: {score: cells.loc[rows, score].to_numpy() for score in scores_for("evaluate", cells)}
        for title, rows in groups.items()
        if rows.any()
    }
    save_figure(draw_against_control(values, cell_areas(cells, odd, typical)), folder / f"unseen-{of_class}")


def _sheet(cells: pd.DataFrame, source: Source, name: str) -> Generator[Event, None, Image]:
    """Return the most anomalous cells of a class side by side, each once."""
    top = cells.sort_values("anomaly", ascending=False, kind="stable")
    top = top.drop_duplicates(PLACE_COLUMNS).head(_N_SHOWN)
    shown: dict[int, tuple[Image, str]] = {}
    for number, (image, part) in enumerate(top.groupby("image")):
        yield Step("contact sheet", number, top["image"].nunique(), str(image))
        try:
            field = read_image(*source.files[str(image)])
        except ImageError as error:
            yield Failed(str(image), str(error))
            continue
        for row, cell in part.iterrows():
            box = cell[BOX_COLUMNS].to_numpy(dtype=np.float64)
            crop = cut(field, box, round(1.5 * max(box[2] - box[0], box[3] - box[1])))
            same_size = np.asarray(PillowImage.fromarray(crop).resize((_SIDE_PX, _SIDE_PX)))
            shown[row] = same_size, f"d = {cell['anomaly']:.1f}\n{cell.get('cell_type') or ''}".rstrip()
    ordered = [shown[row] for row in top.index if row in shown]
    title = f"The most anomalous cells of {name}, which the training never saw"
    return contact_sheet([crop for crop, _ in ordered], [text for _, text in ordered], _COLUMNS, title)

"""Columns of bags, clusters and groups as people read them: the same words in the window and in a report."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

_LEAST = 0.001
"""A number closer to zero than this is told as such: no table says 8.4e-05."""


class Heading(NamedTuple):
    """What stands above a column, and one sentence on what it holds."""

    head: str
    meaning: str


# what a narrow table shows first is what a sample was called
HEADINGS = {
    "bag": Heading("Sample", "Name of the bag: all cells of one sample."),
    "n_bags": Heading("Samples", "Number of samples."),
    "label": Heading("Label", "What is known about it."),
    "verdict": Heading("Verdict", "A known class, 'unlike anything seen', or 'abstain'."),
    "predicted": Heading("Most like", "The most probable of the classes that the model knows."),
    "novelty_p": Heading(
        "Novelty p", "How probable a sample this far from all classes is. Small: something new."
    ),
    "anomalous_fraction": Heading("Unusual cells", "Share of the cells with q < 0.05."),
    "anomaly_p95": Heading("Distance, 95 %", "95th percentile of the distance from control cells."),
    "n_cells": Heading("Cells", "Number of scored cells."),
    "patient": Heading("Patient", "Whose sample it is."),
    "novel": Heading("Unlike anything", "Share of the samples with the verdict 'unlike anything seen'."),
    "cluster": Heading("Cluster", "Number of the cluster; the largest is 1."),
    "candidate": Heading("Named", "Candidate class that its cells were made."),
    "n_patients": Heading("Patients", "Number of patients with cells in it."),
    "anomaly": Heading("Distance", "Mean distance of its cells from control cells."),
    "in_unseen_bags": Heading("In novel samples", "Share of its cells in samples 'unlike anything seen'."),
    "nearest_class": Heading("Nearest class", "Class that the model knows whose cells are most like these."),
    "nearest_distance": Heading(
        "How far",
        "Distance from cells of that class, in standard deviations: at 1 they overlap, at 4 hardly.",
    ),
    "statistic": Heading("Of each patient", "What is compared: its mean over the cells of each patient."),
    "mean_first": Heading("Mean, first", "Mean over the patients of the first group."),
    "mean_second": Heading("Mean, second", "Mean over the patients of the second group."),
    "cliffs_delta": Heading(
        "Cliff's delta",
        "Share of pairs of patients in which the second group has more, less that in which it has less.",
    ),
    "p": Heading("p", "How often patients dealt to the groups at random differ as much."),
    "n_first": Heading("Patients, first", "Number of patients in the first group."),
    "n_second": Heading("Patients, second", "Number of patients in the second group."),
}
"""Every column that has words of its own, in the order of a table of samples."""


def heading(column: str) -> Heading:
    """Return the words of a column; one without words has its name.

    >>> heading("probability_ill").head
    'ill'
    """
    likely = column.removeprefix("probability_")
    if likely != column:
        return Heading(likely, f"How probable the model holds {likely}.")
    return HEADINGS.get(column, Heading(column, column))


def shown(value: Any) -> str:  # noqa: ANN401
    """Return a value as a table shows it: three digits, a dash for what is unknown.

    >>> shown(0.123456), shown(8.4e-05), shown(float("nan"))
    ('0.123', '< 0.001', '-')
    """
    if value is None or (isinstance(value, float | np.floating) and not np.isfinite(value)) or value == "":
        return "-"
    if not isinstance(value, float | np.floating):
        return str(value)
    number = float(value)
    if 0 < abs(number) < _LEAST:
        return f"< {_LEAST}" if number > 0 else f"> -{_LEAST}"
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"

"""What a run folder holds after a training, as tabs, words and a table."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from pytestqt.qtbot import QtBot

from napari_amil.plugin.training.run_results import RunResults, metric_words, patient_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        ("p1/a", "p1", "control", 0.9, 0.1),
        ("p1/b", "p1", "control", 0.3, 0.7),
        ("p2/a", "p2", "ill", 0.8, 0.2),
    ]
    table = pd.DataFrame(rows, columns=["bag", "patient", "label", "probability_control", "probability_ill"])
    table.to_csv(tmp_path / "bags.csv", index=False)
    (tmp_path / "metrics.json").write_text(json.dumps({"accuracy": 0.625, "macro_auroc": None, "n_bags": 3}))
    (tmp_path / "figures").mkdir()
    Figure(figsize=(1, 1)).savefig(tmp_path / "figures" / "confusion.png")
    return tmp_path


def test_patients_have_the_mean_of_their_bags(folder: Path) -> None:
    table = patient_table(folder / "bags.csv")
    assert table is not None
    assert table.to_dict("list") == {
        "patient": ["p1", "p2"],
        "label": ["control", "ill"],
        "predicted": ["control", "control"],
        "probability": [pytest.approx(0.6), pytest.approx(0.8)],
        "n_bags": [2, 1],
    }


def test_what_is_not_there_is_left_out(folder: Path, tmp_path: Path, qtbot: QtBot) -> None:
    results = RunResults()
    qtbot.addWidget(results)
    results.show_folder(folder)
    assert [results.tabs.tabText(i) for i in range(results.tabs.count())] == ["Patients", "Confusion"]
    assert results.metrics.text() == "On patients that were left out: accuracy 0.62."
    wrong = results.table.item(1, 2)
    assert wrong is not None
    assert wrong.font().bold()
    results.show_folder(tmp_path / "nowhere")
    assert results.tabs.count() == 0
    assert results.metrics.isHidden()


def test_a_run_without_a_test_says_so(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    assert metric_words(tmp_path / "metrics.json") == "There was no test: all patients were trained on."
    assert patient_table(tmp_path / "bags.csv") is None

"""The registry of columns, and numbers as tables show them."""

from __future__ import annotations

import ast
import doctest
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_amil.core.base import column as column_module
from napari_amil.core.base import columns
from napari_amil.core.base.column import Column

DOCS = Path(__file__).parents[3] / "docs"
SOURCE = Path(__file__).parents[3] / "src"


@pytest.mark.parametrize("module", [columns, column_module])
def test_the_examples_hold(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted >= 3
    assert not found.failed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.00823, "0.00823"),
        (np.float64(2e-14), "< 0.001"),
        (-0.0002, "> -0.001"),
        (123456.0, "123456"),
        (np.nan, "-"),
        (None, "-"),
        ("", "-"),
        (17, "17"),
    ],
)
def test_no_number_is_shown_in_powers_of_ten(value: object, text: str) -> None:
    assert columns.shown(value) == text


@pytest.mark.parametrize("column", columns.COLUMNS.values(), ids=lambda column: column.name)
def test_every_column_has_a_title_and_a_sentence(column: Column) -> None:
    assert "_" not in column.title
    assert column.meaning.endswith(".")
    assert (column.low is None) or (column.high is None) or column.low < column.high


def test_a_column_that_is_not_registered_has_its_name() -> None:
    unknown = columns.column_of("unheard_of")
    assert (unknown.title, unknown.heading, unknown.meaning) == ("unheard of", "unheard_of", "")
    assert columns.score_names(["unheard_of"]) == columns.menu_names(["unheard_of"]) == []


@pytest.mark.parametrize(
    ("name", "family", "title"),
    [
        ("contribution_iron_poor", "contribution_<class>", "Speaks for iron poor"),
        ("morph_aspect_ratio_z", "morph_<name>_z", "Shape: aspect ratio (control deviations)"),
        ("morph_aspect_ratio", "morph_<name>", "Shape: aspect ratio"),
        ("anomaly_memae", "anomaly_<model>", "Distance by memae"),
        ("probability_iron_poor", "probability_<class>", "iron poor"),
    ],
)
def test_a_name_of_a_family_has_its_words(name: str, family: str, title: str) -> None:
    column = columns.column_of(name)
    assert (column.name, column.title) == (name, title)
    assert columns.parts([name, "anomaly", "bag"], family) == {columns.column_of(family).part(name): name}


def test_an_exact_name_comes_before_a_family_and_the_own_table_before_others() -> None:
    assert columns.column_of("morph_distance").title == "Shape: distance from control"
    assert columns.column_of("anomaly_p95").table == "bags"
    assert columns.column_of("anomaly").meaning.startswith("How far the cell lies")
    assert (
        columns.column_of("anomaly", "clusters").meaning == "Mean distance of its cells from control cells."
    )
    assert columns.column_of("n_cells", "clusters").meaning.endswith("each once.")


def test_scores_are_what_an_edit_blanks() -> None:
    names = [
        "image",
        "cell_id",
        "y0",
        "area_px",
        "detection_score",
        "status",
        "cell_type",
        "label",
        "n_cells",
    ]
    scores = ["anomaly", "anomaly_se", "anomaly_q", "attention_x_n", "contribution_a", "morph_tail_z"]
    assert columns.score_names([*names, *scores]) == scores


def test_what_rests_on_the_sample() -> None:
    alone = ["anomaly", "anomaly_p", "anomaly_percentile", "latent_distance", "morph_tail", "morph_distance"]
    together = ["anomaly_q", "attention", "attention_x_n", "pool_weight", "contribution_a"]
    assert [columns.column_of(name).needs_sample for name in alone + together] == [False] * 6 + [True] * 5


def test_menus_have_the_most_telling_first_and_the_families_in_their_order() -> None:
    names = [
        "area_px",
        "morph_a",
        "morph_a_z",
        "morph_b",
        "contribution_x",
        "anomaly",
        "anomaly_se",
        "status",
    ]
    wanted = ["anomaly", "contribution_x", "morph_a", "morph_a_z", "morph_b", "area_px"]
    assert columns.menu_names(names) == wanted
    assert columns.scores_for("evaluate", ["morph_distance", "attention", "anomaly"]) == [
        "anomaly",
        "morph_distance",
    ]
    assert columns.scores_for("draw", ["latent_distance", "anomaly"]) == ["anomaly"]


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="has a column 'anomaly' already"):
        columns.register(Column("anomaly", "Distance", "A sentence."))


def test_the_registry_needs_no_pandas_torch_or_qt() -> None:
    heavy = "{'pandas', 'torch', 'qtpy', 'napari', 'numpy'}"
    code = f"import sys, napari_amil.core.base.columns; assert not {heavy} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_tables_in_the_documentation_are_up_to_date() -> None:
    maker = runpy.run_path(str(DOCS / "make_column_tables.py"))
    text = (DOCS / "formats.md").read_text(encoding="utf-8")
    assert text.count("<!-- columns of ") == 2
    assert maker["with_tables"](text) == text, "run: python docs/make_column_tables.py"
    assert all(
        f"| `{column.name}` |" in text for column in columns.COLUMNS.values() if column.table == "bags"
    )


def _spelled(tree: ast.AST) -> Iterator[str]:
    """Yield what a file says about columns: titles and sentences, names of a family, lists of scores."""
    known = [(c.title, c.head, c.meaning) for c in columns.COLUMNS.values()]
    words = {text for texts in known for text in texts if " " in text}
    stems = {column.stem for column in columns.COLUMNS.values() if "<" in column.name}
    for node in ast.walk(tree):
        texts = [part.value for part in ast.iter_child_nodes(node) if isinstance(part, ast.Constant)]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in words | stems:
            yield node.value
        elif isinstance(node, ast.JoinedStr) and texts and texts[0] in stems:
            yield f"{texts[0]}{{...}}"
        elif isinstance(node, ast.List | ast.Tuple | ast.Set):
            scores = columns.score_names(text for text in texts if isinstance(text, str))
            if len(scores) > 2:
                yield ", ".join(scores)


def test_no_other_file_spells_words_families_or_lists_of_scores() -> None:
    own = {"column.py", "column_list.py", "columns.py", "sample_columns.py"}
    files = [path for path in SOURCE.rglob("*.py") if path.name not in own]
    assert len(files) > 100
    found = {str(path.relative_to(SOURCE)): [*_spelled(ast.parse(path.read_text("utf-8")))] for path in files}
    assert {path: spelled for path, spelled in found.items() if spelled} == {}


def test_the_guard_sees_each_kind() -> None:
    code = "a = 'Distance from control'\nb = f'contribution_{a}'\nc = ['anomaly', 'anomaly_q', 'attention']"
    wanted = ["Distance from control", "contribution_{...}", "anomaly, anomaly_q, attention"]
    assert set(wanted) <= set(_spelled(ast.parse(code)))

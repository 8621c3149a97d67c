"""Cell types from named cells: probabilities, abstention, cross-validation by slide, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from napari_amil.core.base.errors import AmilError
from napari_amil.core.cell_types.classifier import TypeClassifier
from napari_amil.core.cell_types.counts import NO_TYPE, type_counts
from napari_amil.core.cell_types.features import MEASURED, feature_names, features_of
from napari_amil.core.cell_types.named_cells import named_rows
from napari_amil.core.cell_types.suggestions import worth_naming
from napari_amil.core.cell_types.validation import cross_validate, importances, in_words

FEATURES = feature_names(4)
LONG = FEATURES.index("aspect_ratio")


@pytest.fixture
def named() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """120 cells of three types on four slides; ``long`` differs by its aspect ratio, ``dark`` by z0."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(120, len(FEATURES)))
    names = np.array(["long", "dark", "plain"] * 40)
    values[names == "long", LONG] += 6
    values[names == "dark", 0] += 6
    return values, names, np.repeat([f"s{number}" for number in range(4)], 30)


@pytest.mark.parametrize("types", [["long", "dark", "plain"], ["long", "plain"]])
def test_probabilities_are_those_of_scikit_learn(named: tuple[np.ndarray, ...], types: list[str]) -> None:
    kept = np.isin(named[1], types)
    values, names = named[0][kept], named[1][kept]
    fitted = TypeClassifier.fit(values, names, FEATURES)
    u = (values - values.mean(axis=0)) / values.std(axis=0)
    own = (
        u
        - np.stack([u[names == name].mean(axis=0) for name in fitted.types])[
            np.searchsorted(fitted.types, names)
        ]
    )
    given = ShrunkWithin(ledoit_wolf(own)[0] + 1e-6 * np.eye(len(FEATURES)))
    priors = np.full(len(types), 1 / len(types))
    model = LinearDiscriminantAnalysis("lsqr", covariance_estimator=given, priors=priors).fit(u, names)
    np.testing.assert_allclose(fitted.probability(values), model.predict_proba(u), atol=1e-9)
    assert (fitted.predict(values) == names).mean() > 0.95


class ShrunkWithin:
    """A covariance that is known: the pooled one, for every type."""

    def __init__(self, covariance: np.ndarray) -> None:
        self.covariance_ = covariance

    def fit(self, values: np.ndarray) -> None:
        """Keep the covariance."""


def test_likeness_is_the_mahalanobis_distance_to_the_nearest_type(named: tuple[np.ndarray, ...]) -> None:
    values, names, _ = named
    fitted = TypeClassifier.fit(values, names, FEATURES)
    u = fitted.standardised(values)
    own = np.searchsorted(fitted.types, names)
    covariance = ledoit_wolf(u - fitted.means[own])[0] + 1e-6 * np.eye(len(FEATURES))
    inverse = np.linalg.inv(covariance)
    expected = min(mahalanobis(u[7], mean, inverse) ** 2 for mean in fitted.means)
    np.testing.assert_allclose(fitted.likeness(values)[7] * fitted.limit[0], expected, rtol=1e-6)


def test_a_cell_like_no_named_type_gets_none(named: tuple[np.ndarray, ...]) -> None:
    values, names, _ = named
    fitted = TypeClassifier.fit(values, names, FEATURES)
    strange = np.zeros((1, len(FEATURES)))
    strange[0, 5] = 40.0
    assert fitted.predict(strange).tolist() == [""]
    assert fitted.predict(strange, abstain=False)[0] in fitted.types
    unknown = values[:1].copy()
    unknown[0, 10] = np.nan
    assert np.isfinite(fitted.probability(unknown)).all()


def test_it_is_the_same_after_save_and_load(named: tuple[np.ndarray, ...], tmp_path: Path) -> None:
    values, names, _ = named
    fitted = TypeClassifier.fit(values, names, FEATURES)
    fitted.save(tmp_path / "types.safetensors")
    again = TypeClassifier.load(tmp_path / "types.safetensors")
    np.testing.assert_array_equal(again.probability(values), fitted.probability(values))
    np.testing.assert_array_equal(again.likeness(values), fitted.likeness(values))
    (tmp_path / "types.safetensors").write_bytes(b"no file")
    with pytest.raises(AmilError, match="cannot be read as a classifier of cell types"):
        TypeClassifier.load(tmp_path / "types.safetensors")


def test_too_few_names_are_refused(named: tuple[np.ndarray, ...]) -> None:
    values, names, _ = named
    with pytest.raises(AmilError, match="cells of 1 type"):
        TypeClassifier.fit(values[names == "long"], names[names == "long"], FEATURES)
    with pytest.raises(AmilError, match="The type 'dark' has 2 named cells"):
        TypeClassifier.fit(values[:6], names[:6], FEATURES)


def test_a_slide_is_predicted_without_its_own_names(named: tuple[np.ndarray, ...]) -> None:
    values, names, slides = named
    found = cross_validate(values, names, slides, FEATURES)
    assert found is not None
    assert (found.by, found.n_cells) == ("slide", 120)
    assert found.macro_f1 > 0.9
    assert found.confusion.to_numpy().sum() == 120
    # a type that one slide alone has cannot be told there
    alone = np.where(slides == "s3", "odd", names)
    lonely = cross_validate(values, alone, slides, FEATURES)
    assert lonely is not None
    assert lonely.table().set_index("cell_type").loc["odd", "recall"] == 0
    one = cross_validate(values, names, np.full(120, "s0"), FEATURES)
    assert one is not None
    assert one.by == "cell"


def test_what_tells_a_type_apart_is_said_in_words(named: tuple[np.ndarray, ...]) -> None:
    values, names, _ = named
    table = importances(TypeClassifier.fit(values, names, FEATURES))
    measured = table[table["feature"].isin(MEASURED) & (table["cell_type"] == "long")]
    assert measured["feature"].iloc[0] == "aspect_ratio"
    assert table[table["cell_type"] == "dark"]["feature"].iloc[0] == "embedding"
    assert any(sentence.startswith("long: longer") for sentence in in_words(table))


def test_cells_worth_naming_are_doubtful_and_apart(named: tuple[np.ndarray, ...]) -> None:
    values, names, _ = named
    fitted = TypeClassifier.fit(values, names, FEATURES)
    between = values[:3].mean(axis=0, keepdims=True)
    pool = np.concatenate([values, between, between, between])
    chosen = worth_naming(fitted, pool, np.arange(len(pool)), 5)
    assert len(set(chosen.tolist())) == 5
    assert sum(row >= len(values) for row in chosen) <= 1
    assert worth_naming(fitted, pool, np.empty(0, np.int64), 5).tolist() == []


def test_counts_have_wilson_intervals() -> None:
    names = np.array(["a"] * 8 + ["b"] * 1 + [""] * 1 + ["b"] * 4)
    table = type_counts(["x"] * 10 + ["y"] * 4, names, ("a", "b"))
    assert table["n_cells"].tolist() == [8, 1, 1, 0, 4, 0]
    assert table["cell_type"].tolist() == ["a", "b", NO_TYPE] * 2
    first = table.iloc[0]
    np.testing.assert_allclose([first["low"], first["high"]], [0.490162, 0.943318], atol=1e-5)


def test_names_find_their_cells_by_box_or_by_id() -> None:
    boxes = {
        "y0": [0.0, 50.0, 0.0],
        "x0": [0.0, 50.0, 0.0],
        "y1": [20.0, 70.0, 20.0],
        "x1": [20.0, 70.0, 20.0],
    }
    cells = pd.DataFrame({"image": ["a", "a", "a"], "cell_id": [1, 2, 3], **boxes})
    moved = {"y0": [2.0, 200.0], "x0": [1.0, 200.0], "y1": [21.0, 220.0], "x1": [21.0, 220.0]}
    given = pd.DataFrame({"image": ["a", "a"], "cell_type": [" burr ", "lost"], **moved})
    names, n_lost = named_rows(cells, given)
    assert (names.tolist(), n_lost) == (["burr", "", "burr"], 1)
    by_id = pd.DataFrame({"image": ["a", "b"], "cell_id": [2, 1], "cell_type": ["burr", "x"]})
    assert named_rows(cells, by_id)[0].tolist() == ["", "burr", ""]
    with pytest.raises(AmilError, match="None of the 1 names belongs to a cell"):
        named_rows(cells, by_id.iloc[1:])
    with pytest.raises(AmilError, match="it needs image, cell_type, and either"):
        named_rows(cells, by_id[["image", "cell_type"]])


def test_measurements_are_needed() -> None:
    with pytest.raises(AmilError, match="no column 'morph_diameter'"):
        features_of(pd.DataFrame({"image": ["a"]}), np.zeros((1, 4), np.float32))

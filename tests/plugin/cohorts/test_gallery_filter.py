from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.cohorts.gallery_filter import Condition, fulfilled, parse_conditions

TABLE = pd.DataFrame(
    {
        "anomaly": [1.0, 5.0, 9.0, np.nan],
        "area_px": [100.0, 800.0, 950.0, 10.0],
        "touches_border": [True, False, False, True],
        "status": ["scored", "edited", "scored", None],
        "contribution_iron-poor": [0.5, -0.5, 0.0, 1.0],
    }
)


def rows(text: str) -> list[int]:
    return np.flatnonzero(fulfilled(TABLE, parse_conditions(text, TABLE.columns))).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [0, 1, 2, 3]),
        ("anomaly > 4", [1, 2]),
        ("anomaly>=5 and area_px < 900", [1]),
        ("anomaly < 9, area_px<900", [0, 1]),
        ("anomaly != 5", [0, 2]),
        ("anomaly == 5", [1]),
        ("touches_border = no", [1, 2]),
        ("status = scored", [0, 2]),
        ("status != 'scored'", [1]),
        ("contribution_iron-poor > 0", [0, 3]),
        ("anomaly > -1e9", [0, 1, 2]),
    ],
)
def test_comparisons_are_read_and_obeyed(text: str, expected: list[int]) -> None:
    assert rows(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("anomaly", "no comparison"),
        ("size > 3", "no column 'size'"),
        ("anomaly > much", "not 'much'"),
        ("status > 3", "holds words"),
        ("touches_border > 1", "is yes or no"),
        ("__import__('os').system('true') > 1", "no comparison"),
        ("anomaly > __import__('os').getpid()", "holds numbers"),
        ("@pd.eval('1') > 0", "no comparison"),
    ],
)
def test_what_is_no_comparison_is_refused_and_never_run(text: str, said: str) -> None:
    with pytest.raises(AmilError, match=said):
        rows(text)


def test_a_comparison_is_taken_apart() -> None:
    assert parse_conditions(' status = "left out" ', ["status"]) == [Condition("status", "=", "left out")]

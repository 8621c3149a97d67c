"""The receipt of a run is told in words; what is no receipt is told nothing of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_amil.core.base.receipt import RECEIPT, Receipt
from napari_amil.plugin.training.run_receipt import receipt_words


def test_a_receipt_is_told_with_its_stages(tmp_path: Path) -> None:
    stages = {"start": {"seconds": 9.0}, "training": {"seconds": 591.0}}
    used = {"seconds": 600.0, "processor_s": 1080.0, "joules": 10800.0, "peak_memory_bytes": 2_340_000_000}
    found = {**used, "stages": stages, "energy_from": "Estimated: 10 W for every busy core."}
    (tmp_path / RECEIPT).write_text(json.dumps(found))
    sentence, details = receipt_words(tmp_path)
    assert (
        sentence == "It took 10 min, 18 min of the processor, 3 Wh (estimated) and at most 2.3 GB of memory."
    )
    assert details.splitlines()[:2] == ["start: 9 s", "training: 10 min"]


def test_what_the_program_writes_is_understood(tmp_path: Path) -> None:
    Receipt(["train"]).write(tmp_path)
    assert receipt_words(tmp_path)[0].startswith("It took 1 s, ")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"seconds": "much"}'])
def test_a_damaged_receipt_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / RECEIPT).write_text(content)
    assert receipt_words(tmp_path) == ("", "")
    assert receipt_words(tmp_path / "nowhere") == ("", "")

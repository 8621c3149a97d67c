"""A receipt counts seconds, memory and energy by stage, and names its inputs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from napari_amil.core.base import receipt
from napari_amil.core.base.events import Step, Warned
from napari_amil.core.base.files import read_json
from napari_amil.core.base.receipt import STARTER, Meter, Receipt, Used, fingerprint, summary


class Script(Meter):
    """A meter that reads what the test wrote down."""

    is_counter = True
    how = "Counters"

    def __init__(self, *used: Used) -> None:
        self._left = list(used)

    def read(self) -> Used:
        return self._left.pop(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test sets."""
    now = [100.0]
    monkeypatch.setattr(receipt.time, "monotonic", lambda: now[0])
    return now


def test_what_is_used_counts_for_the_stage_that_ran(tmp_path: Path, clock: list[float]) -> None:
    said = Receipt(["score", {"path": str(tmp_path / "in"), "is_out": False}])
    said._meter = Script(Used(2, 10, 5), Used(9, 70, 25), Used(10, 30, 26))
    (tmp_path / "image.png").write_bytes(b"pixels")
    clock[0] += 3
    said.heard(Step("images", 0, 2))
    clock[0] += 0.5
    said.heard(Warned("not read, since the last look is not a second ago"))
    clock[0] += 4
    said.heard(Step("images", 1, 2))
    clock[0] += 1
    said.reads({str(tmp_path / "image.png"): tmp_path / "image.png", STARTER: tmp_path / "image.png"})
    (tmp_path / "out").mkdir()
    said.write(tmp_path / "out")
    written = read_json(tmp_path / "out" / "receipt.json")
    assert written["stages"] == {
        "start": {"seconds": 3, "processor_s": 2, "joules": 5},
        "images": {"seconds": 5.5, "processor_s": 8, "joules": 21},
    }
    assert (written["seconds"], written["processor_s"], written["joules"]) == (8.5, 10, 26)
    assert written["peak_memory_bytes"] == 70
    assert written["command"][1]["relative"] == "../in"
    known = f"sha256:{hashlib.sha256(b'pixels').hexdigest()}"
    assert written["inputs"] == {"../image.png": known, STARTER: known}
    assert summary(written).startswith(
        "8 seconds, 10 of the processor, 0.0 GB of memory at most, 0.01 Wh (meas"
    )


def test_counters_of_the_processor_are_summed(tmp_path: Path) -> None:
    for name, energy in (("intel-rapl:0", 5e6), ("intel-rapl:1", 7e6), ("intel-rapl:0:0", 1e6)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{energy:.0f}\n")
    meter = Meter(tmp_path)
    assert meter.is_counter
    assert meter.read().joules == 0
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("8000000\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("1000000\n")  # began anew
    assert meter.read().joules == 3


def test_memory_that_was_given_back_between_two_looks_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Meter(tmp_path).read().memory_bytes
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t 9000000000 kB\nVmRSS:\t 5 kB\n")
    monkeypatch.setattr(receipt, "_STATUS", tmp_path / "status")
    assert 10**7 < now < Meter(tmp_path).read().memory_bytes == 9000000000 * 1024
    monkeypatch.setattr(receipt, "_STATUS", tmp_path / "of another system")
    assert 10**7 < Meter(tmp_path).read().memory_bytes < 9000000000


def test_without_counters_the_energy_is_estimated(tmp_path: Path) -> None:
    said = Receipt()
    said._meter = Meter(tmp_path)
    said.write(tmp_path)
    written = read_json(tmp_path / "receipt.json")
    assert written["energy_from"].startswith("Estimated: 10 W for every busy core")
    assert written["joules"] == pytest.approx(10 * written["processor_s"])
    assert written["peak_memory_bytes"] > 10**7


def test_a_large_file_is_known_by_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipt, "_WHOLE_BYTES", 10)
    monkeypatch.setattr(receipt, "_PART_BYTES", 2)
    (tmp_path / "a").write_bytes(b"0123456789ab")
    first = fingerprint(tmp_path / "a")
    assert first == f"parts:{hashlib.sha256(b'12' + b'01' + b'67' + b'ab').hexdigest()}"
    (tmp_path / "a").write_bytes(b"0123456789ac")
    assert fingerprint(tmp_path / "a") != first

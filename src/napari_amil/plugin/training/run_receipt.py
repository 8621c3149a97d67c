"""Time, energy and memory of a run, as sentences from its receipt."""

from __future__ import annotations

from pathlib import Path

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import read_json
from napari_amil.core.base.receipt import RECEIPT
from napari_amil.plugin.training.run_progress import duration

_JOULES_IN_WH = 3600.0


def receipt_words(folder: Path) -> tuple[str, str]:
    """Return the usage of the run in a folder, as a sentence and line by line; empty without a receipt.

    A run that was resumed has the receipt of its last part.
    """
    try:
        found = read_json(folder / RECEIPT)
        seconds, processor = float(found["seconds"]), float(found["processor_s"])
        energy, memory = float(found["joules"]) / _JOULES_IN_WH, float(found["peak_memory_bytes"]) / 1e9
        stages = {str(name): float(stage["seconds"]) for name, stage in found["stages"].items()}
        source = str(found["energy_from"])
    except (AmilError, AttributeError, KeyError, TypeError, ValueError):
        return "", ""
    estimated = " (estimated)" if source.startswith("Estimated") else ""
    energy_words = f"{energy:.2g} Wh{estimated}"
    sentence = (
        f"It took {duration(seconds)}, {duration(processor)} of the processor, {energy_words} and at most "
        f"{memory:.1f} GB of memory."
    )
    lines = [f"{name}: {duration(spent)}" for name, spent in stages.items()]
    return sentence, "\n".join([*lines, source, str(folder / RECEIPT)])

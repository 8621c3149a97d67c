"""Request and reply for types of cells from names that a person gave."""

from __future__ import annotations

from pathlib import Path

from napari_amil.worker.protocol.base import Reply, Request


class CellsTyped(Reply):
    """Files of the types of a scored folder, and how good they are on slides that were left out.

    ``validation`` has ``(type, named cells, recall, precision)``; ``worth_naming`` are rows of the folder.
    """

    types: Path
    counts: Path
    classifier: Path
    worth_naming: tuple[int, ...]
    sentences: tuple[str, ...]
    validation: tuple[tuple[str, int, float, float], ...] = ()
    macro_f1: float = float("nan")
    left_out: str = ""


class TypeCells(Request):
    """Learn cell types from a table of ``names``, from a ``classifier`` or both; files go into ``out``."""

    reply = CellsTyped
    folder: Path
    out: Path
    names: Path | None = None
    classifier: Path | None = None

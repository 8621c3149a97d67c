"""Score a cohort in shards, as on a cluster, and merge them: the bytes are those of one run."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from napari_amil.core.base.errors import AmilError, SettingsError
from napari_amil.core.base.events import Event, Failed, Step, collecting
from napari_amil.core.base.files import read_json, write_exact_json
from napari_amil.core.base.locks import locked
from napari_amil.core.base.outputs import make_folder
from napari_amil.core.exchange.project import Project, refuse_foreign_tables
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source
from napari_amil.core.scoring.score_folder import (
    WORK,
    card_of,
    refuse_other_images,
    scoring_units,
    stored_units,
    units_of,
    write_joined,
)

_DONE = "shard.json"


@dataclass(frozen=True)
class Shard:
    """Part ``number``, from 1, of ``total`` parts of a cohort."""

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the shard that ``2/8`` names.

        Raises
        ------
        SettingsError
            If it names none.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        shard = cls(*map(int, found.groups())) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.total:
            raise SettingsError(
                f"'{text}' names no shard; give its number and how many there are, as in 2/8."
            )
        return shard

    def folder(self, out: Path) -> Path:
        """Return the folder of this shard's record of completion."""
        return out / WORK / f"shard-{self.number}-of-{self.total}"


def score_shard(
    source: Source, recipe: Recipe, bundle: Path | None, out: Path, shard: Shard
) -> Generator[Event, None, int]:
    """Score one of several equal parts of the bags of a cohort into ``out`` and return how many they are.

    Other shards may be scored into ``out`` at the same time, by other machines too. A shard that was
    stopped goes on. `merge_shards` makes the project of all.

    Raises
    ------
    AmilError
        If the bags must be scored together, ``out`` holds scores of other images, or another process
        works on this shard.
    """
    if recipe.settings.bag_level != "sample":
        raise AmilError(
            f"Bags of one {recipe.settings.bag_level} are scored together with others; leave --shard out."
        )
    refuse_other_images(source, out)
    refuse_foreign_tables(out)
    card = card_of(source, recipe, bundle)
    units = units_of(source, recipe, card)
    first, last = ((shard.number + step) * len(units) // shard.total for step in (-1, 0))
    own, failed = units[first:last], list[Failed]()
    with locked(make_folder(shard.folder(out))):
        yield from collecting(scoring_units(own, source, recipe, card, out), failed)
        noted = {
            "units": [unit.digest for unit in own],
            "failed": [[one.source, one.reason] for one in failed],
        }
        write_exact_json(noted | {"card": card}, shard.folder(out) / _DONE)
    return len(own)


def merge_shards(out: Path) -> Generator[Event, None, Project]:
    """Write the project of all shards that were scored into ``out``; yield their failures.

    Raises
    ------
    AmilError
        If there is no shard, one is not done, or they were made differently.
    """
    with locked(make_folder(out)):
        found = [path.name for path in (out / WORK).glob("shard-*-of-*")]
        totals = sorted({int(name.rpartition("-")[2]) for name in found if name.rpartition("-")[2].isdigit()})
        if not totals:
            raise AmilError(f"'{out}' holds no shards; score them with 'napari-amil score ... --shard 1/8'.")
        if len(totals) > 1:
            raise AmilError(
                f"'{out}' holds shards of {totals[0]} and of {totals[1]}; use one folder for each."
            )
        noted = [_noted(Shard(number, totals[0]), out) for number in range(1, totals[0] + 1)]
        card = noted[0]["card"]
        for number, other in enumerate(noted, start=1):
            if other["card"] != card:
                raise AmilError(
                    f"Shard {number} was made from other images, settings or versions than shard 1; "
                    "score it anew."
                )
        yield Step("merge", 0, 1, "Reading the shards")
        known = stored_units(out, card)
        digests = [digest for one in noted for digest in one["units"]]
        for one in noted:
            yield from (Failed(*line) for line in one["failed"])
        project = write_joined(digests, known, card, out)
        yield Step("merge", 1, 1)
    return project


def _noted(shard: Shard, out: Path) -> dict[str, Any]:
    """Return the record that a completed shard wrote."""
    file = shard.folder(out) / _DONE
    if not file.exists():
        raise AmilError(
            f"Shard {shard.number} of {shard.total} in '{out}' is not done; give its command again."
        )
    noted: dict[str, Any] = read_json(file)
    return noted

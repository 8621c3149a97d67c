"""Independent units of a cohort (patients, slides or images) and their split into parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from napari_amil.core.anomaly.patients import ControlWeights
from napari_amil.core.mil.batch import BagArrays


def independent_units(
    bags: BagArrays,
    images: Sequence[str] | NDArray[np.str_] | None = None,
    slides: NDArray[np.str_] | None = None,
) -> NDArray[np.str_]:
    """Return the patient of each stored cell; its slide or image where patients share these.

    A patient whose slides or images serve others too is not held out with the patient's own cells alone,
    so that then slides, or images where slides are not known, are the independent units.

    Parameters
    ----------
    images
        ``(n_instances,)`` image of each stored cell; None where it is not known.
    slides
        ``(n_instances,)`` slide of each stored cell; None where it is not known.

    Returns
    -------
    ``(n_instances,)`` names; empty for cells of no bag.
    """
    patient = np.full(len(bags.instances), "", dtype=object)
    shared = False
    for rows, name in zip(bags.rows, bags.patients, strict=True):
        shared = shared or bool(((patient[rows] != "") & (patient[rows] != name)).any())
        patient[rows] = name
    places = images if slides is None else slides
    if places is None:
        return patient.astype(np.str_)
    known = np.asarray(places, dtype=np.str_)
    used = patient != ""
    pairs = set(zip(known[used].tolist(), patient[used].tolist(), strict=True))
    shared = shared or len(pairs) > len({image for image, _ in pairs})
    return np.where(used, known, "") if shared else patient.astype(np.str_)


def weighed_controls(
    bags: BagArrays, *, alike: bool
) -> tuple[NDArray[np.int64], tuple[str, ...], ControlWeights | None]:
    """Return rows and patients of the control cells of the reference of the anomaly, every cell alike.

    With ``alike`` every unit counts alike, and control cells that are no reference, which tell how units
    differ, are among them: their weights come third.
    """
    if not alike:
        return *bags.control_cells(), None
    rows, patients = bags.control_cells(teaching=True)
    units = patients if bags.units is None else bags.units[rows]
    reference = np.isin(rows, bags.control_cells()[0])
    return rows, patients, ControlWeights.from_units(units, reference)


def groups_of_units(bags: BagArrays, units: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return the group of the unit of each stored cell: units that share a bag are one group.

    Left out as a group, every bag is left out whole. Where some class, or the reference of the anomaly, has
    all its bags in one group, so that no model could do without it, the groups are the units themselves.
    """
    names, number = np.unique(units, return_inverse=True)
    held = [np.unique(number[own]) for own in bags.rows]
    first = np.concatenate([np.repeat(own[:1], len(own)) for own in held])
    edges = np.ones(len(first)), (first, np.concatenate(held))
    group = connected_components(coo_matrix(edges, shape=(len(names), len(names))), directed=False)[1]
    own = np.array([group[some[0]] for some in held])
    if any(len(np.unique(own[bags.roles == role])) < 2 for role in np.unique(bags.roles)):
        return units
    first_of = names[np.unique(group, return_index=True)[1]]
    return np.where(units == "", "", first_of[group[number]])


def split_units(bags: BagArrays, units: NDArray[np.str_], n_parts: int, seed: int) -> NDArray[np.int64]:
    """Split the units into parts of about equal size, class by class; return the part of each stored cell.

    No part holds all units of a class: the only unit of a class, and one of several that lie in one part
    because they are shared with other classes, are never held out. Their part is -1. Units of many cells
    are dealt first, so that they come into different parts. Each class begins with the part after the
    last one of the class before, so that the parts stay of equal size.
    """
    generator = np.random.default_rng(seed)
    part_of: dict[str, int] = {"": -1}
    start = 0
    for role in np.unique(bags.roles):
        rows = [own for own, of_bag in zip(bags.rows, bags.roles, strict=True) if of_bag == role]
        names, n_cells = np.unique(units[np.unique(np.concatenate(rows))], return_counts=True)
        size = dict(zip(names.tolist(), n_cells.tolist(), strict=True))
        dealt = generator.permutation([name for name in names if name not in part_of])
        fresh = sorted(dealt, key=lambda name: -size[str(name)])
        if len(names) == 1:
            part_of.setdefault(str(names[0]), -1)
            continue
        part_of |= {str(name): (start + i) % n_parts for i, name in enumerate(fresh)}
        if len({part_of[str(name)] for name in names}) == 1:
            part_of[str(names[0])] = -1
        start += len(fresh)
    return np.array([part_of[name] for name in units.tolist()], dtype=np.int64)

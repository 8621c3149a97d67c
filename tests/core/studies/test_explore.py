"""Explorations and reports of a scored folder: files, candidates, groups, and the same numbers everywhere."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from napari_amil.core.base import columns
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed, Step, drain
from napari_amil.core.base.types import UNSEEN, box_outline
from napari_amil.core.cohort.layouts.registry import read_cohort
from napari_amil.core.cohort.summary import bag_table
from napari_amil.core.evaluation.clusters import ClusterSettings
from napari_amil.core.exchange.project import Project, read_project, write_project
from napari_amil.core.exchange.tables import load_table
from napari_amil.core.instances.executor import SERIAL
from napari_amil.core.instances.processes import Processes
from napari_amil.core.report import report
from napari_amil.core.report.report import write_reports
from napari_amil.core.studies.candidates import name_cluster
from napari_amil.core.studies.explore import (
    EXPLORATION,
    Exploration,
    compare_project,
    compare_with_truth,
    explore_project,
    find_exploration,
    read_exploration,
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Six bags of 30 cells on one field; in each of the last three 10 cells are of new kinds."""
    path = tmp_path / "field.png"
    PIL.Image.fromarray(np.full((200, 300, 3), 180, np.uint8)).save(path)
    rng = np.random.default_rng(0)
    n = np.arange(180)
    bag = n // 30
    odd = (bag >= 3) & (n % 30 < 10)
    cells = pd.DataFrame({"bag": [f"b{i}" for i in bag], "image": "field.png", "cell_id": n + 1})
    y, x = 10 * (n // 20), 14 * (n % 20)
    cells[["y0", "x0", "y1", "x1"]] = np.stack([y, x, y + 9, x + 9], axis=1).astype(float)
    cells["anomaly"] = np.where(odd, 12.0, 2.0) + rng.uniform(size=180)
    cells["anomaly_percentile"] = np.where(odd, 100.0, 50.0)
    cells["anomaly_q"] = np.where(odd, 0.01, 0.8)
    cells["attention_x_n"] = rng.uniform(0.5, 2, 180)
    cells["pool_weight"] = 1 / 30
    cells["contribution_control"], cells["contribution_ill"] = 0.01, -0.01
    cells["cell_type"] = np.where(odd, "new kind", "normal")
    bags = pd.DataFrame({"bag": [f"b{i}" for i in range(6)], "patient": [f"p{i}" for i in range(6)]})
    bags["label"] = ["control"] * 3 + ["strange", "strange", None]
    bags["verdict"] = ["control"] * 3 + [UNSEEN] * 3
    bags = bags.assign(predicted="control", probability_control=0.7, probability_ill=0.3, n_cells=30)
    bags = bags.assign(anomaly_p95=3.0, share_q05=[0.0] * 3 + [1 / 3] * 3, novelty_p=0.5)
    z = rng.normal(size=(180, 5)).astype(np.float32)
    z[odd] = 15 + 0.3 * z[odd]
    z[odd & (n % 30 < 5), 0] -= 30  # of two kinds that lie far apart
    outlines = tuple(box_outline(box) for box in cells[["y0", "x0", "y1", "x1"]].to_numpy(np.float32))
    card = {"control": "control", "classes": ["control", "ill"], "images": {"field.png": [str(path), 0]}}
    return Project(cells, bags, z, outlines, card)


@pytest.fixture
def found(project: Project, tmp_path: Path) -> Exploration:
    return drain(explore_project(project, ClusterSettings(min_cells=8), tmp_path / "x"))


def test_a_folder_is_held_while_clusters_are_looked_for(project: Project, tmp_path: Path) -> None:
    work = explore_project(project, ClusterSettings(min_cells=8), tmp_path / "x", pictures=False)
    assert next(work) == Step("explore", 0, 1, "Looking for clusters")
    with pytest.raises(AmilError, match="is writing into"):
        drain(explore_project(project, ClusterSettings(), tmp_path / "x"))
    work.close()
    (tmp_path / "x" / "patients.csv").write_text("patient,age\np1,4\n")
    with pytest.raises(AmilError, match=r"patients\.csv' was not written by this program"):
        drain(explore_project(project, ClusterSettings(min_cells=8), tmp_path / "x", pictures=False))
    assert (tmp_path / "x" / "patients.csv").read_text() == "patient,age\np1,4\n"


def test_a_new_kind_is_found_and_can_be_looked_at(
    project: Project, found: Exploration, tmp_path: Path
) -> None:
    table = load_table(tmp_path / "x" / "clusters.csv")
    assert len(table) == len(found.table) == len(found.clusters.numbers) >= 1
    assert table["in_unseen_bags"].min() == 1
    assert set(table["nearest_class"]) == {"control"}
    placed = load_table(tmp_path / "x" / "cells.csv")
    assert placed["cell_id"].tolist() == project.cells["cell_id"].tolist()
    assert placed["cluster"].tolist() == found.clusters.label.tolist()
    for number in found.clusters.numbers:
        assert (tmp_path / "x" / "figures" / f"cluster-{number}.png").stat().st_size > 1000
    assert (tmp_path / "x" / "figures" / "map.svg").exists()
    truth = compare_with_truth(project, found, "cell_type", "strange", tmp_path / "x")
    assert truth.iloc[-1]["purity"] == 1
    assert truth.iloc[-1]["completeness"] > 0.5  # HDBSCAN leaves out the rim of a group


def test_two_processes_draw_the_bytes_of_one_and_read_each_field_once(
    project: Project, tmp_path: Path
) -> None:
    images = {f"{n}.png": [str(tmp_path / f"{n}.png"), 0] for n in range(3)}
    for n in range(2):  # the third is missing
        colours = np.random.default_rng(n).integers(0, 255, (200, 300, 3), dtype=np.uint8)
        PIL.Image.fromarray(colours).save(tmp_path / f"{n}.png")
    spread = project.cells.assign(image=[f"{n % 3}.png" for n in range(len(project.cells))])
    project = replace(project, cells=spread, card=project.card | {"images": images})
    told: dict[str, list[Event]] = {}
    for name, executor in (("here", SERIAL), ("one", Processes(1)), ("two", Processes(2))):
        told[name] = []
        work = explore_project(project, ClusterSettings(min_cells=8), tmp_path / name, executor=executor)
        drain(work, told[name].append)
    assert told["here"] == told["one"] == told["two"]
    assert [event.source for event in told["two"] if isinstance(event, Failed)] == ["2.png"]
    written = sorted(path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*.*"))
    assert {"clusters.csv", "cluster-1.png", "cluster-2.png"} <= {path.name for path in written}
    for file in written:
        assert (tmp_path / "two" / file).read_bytes() == (tmp_path / "here" / file).read_bytes(), file


def test_a_named_cluster_is_a_class_of_the_next_training(
    project: Project, found: Exploration, tmp_path: Path
) -> None:
    write_project(project, tmp_path)
    counts = project.cells["bag"][found.clusters.label == 1].value_counts()
    wanted = {bag for bag in counts.index[counts >= 3] if bag in {"b3", "b4", "b5"}}
    named = name_cluster(project, found.clusters, 1, "spiky", tmp_path)
    assert (named.n_bags, named.n_cells) == (len(wanted), int((found.clusters.label == 1).sum()))
    assert named.path == tmp_path / "candidates.csv"
    cohort = read_cohort(named.path, "control")
    table = bag_table(cohort).set_index("bag")  # what the Train panel previews and a training learns from
    assert set(table.index[table["label"] == "spiky"]) == wanted
    assert set(table.loc[["b0", "b1", "b2"], "label"]) == {"control"}
    assert "spiky" in cohort.classes
    assert Path(cohort.root, cohort.bags[0].images[0]).exists()
    assert table["cells"].sum() == 180
    noted = {"cluster": 1, "n_cells": named.n_cells, "n_bags": named.n_bags}
    assert read_project(tmp_path).card["candidates"] == {"spiky": noted}
    with pytest.raises(AmilError, match="no cluster 99"):
        name_cluster(project, found.clusters, 99, "spiky", tmp_path)
    with pytest.raises(AmilError, match="cannot be the name"):
        name_cluster(project, found.clusters, 1, "ill", tmp_path)


def test_names_that_were_given_before_stay(project: Project, found: Exploration, tmp_path: Path) -> None:
    write_project(project, tmp_path)
    label = np.full(180, -1)
    label[90:100], label[120:125] = 1, 2
    clusters = replace(found.clusters, label=label)
    name_cluster(project, clusters, 1, "spiky", tmp_path)
    name_cluster(project, clusters, 2, "pale", tmp_path)
    again = load_table(tmp_path / "candidates.csv")
    assert again["candidate"].fillna("").value_counts().to_dict() == {"": 165, "spiky": 10, "pale": 5}
    assert set(read_project(tmp_path).card["candidates"]) == {"spiky", "pale"}
    labels = again.drop_duplicates("bag").set_index("bag")["label"]
    assert (labels["b3"], labels["b4"]) == ("spiky", "pale")
    name_cluster(project, clusters, 2, "spiky", tmp_path)  # the name moves, the old one has no cells left
    assert set(read_project(tmp_path).card["candidates"]) == {"spiky"}


def test_an_exploration_is_read_back_or_refused(project: Project, found: Exploration, tmp_path: Path) -> None:
    back = read_exploration(project, tmp_path / "x")
    assert back.clusters.label.tolist() == found.clusters.label.tolist()
    np.testing.assert_allclose(back.clusters.distance, found.clusters.distance)
    assert back.patients["n_cells"].tolist() == [30] * 6
    with pytest.raises(AmilError, match="are of other cells; find them again"):
        read_exploration(project.rows(np.arange(179)), tmp_path / "x")
    with pytest.raises(AmilError, match="holds no clusters; find them first"):
        read_exploration(project, tmp_path / "nothing")


def test_groups_are_compared_patient_by_patient(project: Project, found: Exploration, tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text(
        "patient,group\n" + "".join(f"p{i},{'after' if i < 3 else 'before'}\n" for i in range(6))
    )
    table = compare_project(project, found, groups, tmp_path / "x").set_index("statistic")
    assert table.loc["share_q05", "difference"] == pytest.approx(1 / 3)
    assert table.loc["share_q05", "cliffs_delta"] == 1
    assert table.loc["share_q05", "p"] == pytest.approx(0.1)  # 2 of the 20 ways to deal 3 of 6
    assert len(load_table(tmp_path / "x" / "groups-patients.csv")) == 6
    lines = groups.read_text().splitlines()
    groups.write_text("\n".join([lines[0], *reversed(lines[1:])]))  # what is named first is the first group
    turned = compare_project(project, found, groups, tmp_path / "x").set_index("statistic")
    assert turned.loc["share_q05", ["first", "cliffs_delta"]].tolist() == ["before", -1]
    groups.write_text("person,group\np0,a\n")
    with pytest.raises(AmilError, match="needs a column 'patient' or 'bag'"):
        compare_project(project, found, groups, tmp_path)


def test_reports_have_the_numbers_of_the_tables(project: Project, tmp_path: Path) -> None:
    (cohort, one) = drain(write_reports(project, tmp_path / "r", ["b4"]))
    text = one.read_text(encoding="utf-8")
    assert "unlike anything that the model has seen" in text
    assert "10 of its 30 cells (33 %)" in text
    assert text.count("data:image/") == 3  # cells, field, distributions
    whole = cohort.read_text(encoding="utf-8")
    assert "6 samples of 6 patients, 180 cells." in whole
    assert 'href="samples/b4.html"' in whole
    assert 'href="samples/b0.html"' not in whole
    assert whole.count('<p class="notice">For research only') == 1


def test_the_report_lists_what_the_cohort_panel_lists(project: Project, tmp_path: Path) -> None:
    window = pytest.importorskip("napari_amil.plugin.cohorts.bag_table")
    write_project(project, tmp_path)
    again = read_project(tmp_path)  # as both read it
    text = drain(write_reports(again, tmp_path / "r", []))[0].read_text(encoding="utf-8")
    listed = text.split("Samples, the most novel first")[1].split("</table>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", listed)]
    told = {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[1:]}
    shown = window.grouped(again.bags, None)
    assert set(told) == set(shown["bag"])
    for _, line in shown.iterrows():
        said = told[line["bag"]]
        names = {
            name: columns.column_of(name, "bags").heading
            for name in line.index
            if columns.column_of(name, "bags").heading in said
        }
        assert len(names) == 9
        assert {name: said[text] for name, text in names.items()} == {
            name: columns.shown(line[name]) for name in names
        }


def test_the_report_shows_the_clusters_and_their_names(
    project: Project, found: Exploration, tmp_path: Path
) -> None:
    write_project(project, tmp_path)
    name_cluster(project, found.clusters, 1, "spiky", tmp_path)
    again = read_project(tmp_path)
    (plain,) = drain(write_reports(again, tmp_path / "r", []))
    assert "that look alike" not in plain.read_text(encoding="utf-8")
    assert find_exploration(again.rows(np.arange(179)), tmp_path) is None
    (tmp_path / "x").rename(tmp_path / EXPLORATION)
    (page,) = drain(write_reports(again, tmp_path / "r", [], found=find_exploration(again, tmp_path)))
    part = page.read_text(encoding="utf-8").split("that look alike")[1].split("<h2>")[0]
    assert part.count("<img") == len(found.clusters.numbers)
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", part)][1:]
    told = {int(row[0]): (row[1], int(row[2])) for row in rows}
    counts = found.table.set_index("cluster")["n_cells"]
    assert told == {n: ("spiky" if n == 1 else "-", counts[n]) for n in found.clusters.numbers}


def test_a_lost_field_stops_no_report(project: Project, tmp_path: Path) -> None:
    Path(project.card["images"]["field.png"][0]).unlink()
    events: list[object] = []
    written = drain(write_reports(project, tmp_path / "r", ["b0", "b4"]), events.append)
    assert [event.source for event in events if isinstance(event, Failed)] == ["field.png"]
    assert len(written) == 3


def test_a_page_is_printed_or_the_extra_is_named(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Printer:
        """Stands for WeasyPrint: notes what it would print."""

        def __init__(self, string: str, base_url: str) -> None:
            self.text = string

        def write_pdf(self, path: Path) -> None:
            path.write_text("%PDF of " + self.text[self.text.index("<h1>") :][:15])

    def asked(package: str) -> SimpleNamespace:
        return {"weasyprint": SimpleNamespace(HTML=Printer)}[package]

    monkeypatch.setattr(report, "optional", asked)
    written = drain(write_reports(project, tmp_path / "r", ["b4"], pdf=True))
    names = [path.relative_to(tmp_path / "r").as_posix() for path in written]
    assert names == ["cohort.html", "cohort.pdf", "samples/b4.html", "samples/b4.pdf"]
    assert (tmp_path / "r" / "samples" / "b4.pdf").read_text() == "%PDF of <h1>Sample b4</"

    def without_pango(_: str) -> SimpleNamespace:
        raise OSError("cannot load library 'libpango-1.0-0'")

    monkeypatch.setattr(report, "optional", without_pango)
    with pytest.raises(AmilError, match="install Pango, or print the pages from a browser"):
        drain(write_reports(project, tmp_path / "r", [], pdf=True))

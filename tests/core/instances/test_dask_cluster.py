"""A Dask cluster does all work and says what fails in it; it needs the extra ``cluster``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")

PROGRAM = """
import os
import signal
import time
from distributed import LocalCluster
from napari_amil.core.base.errors import AmilError
from napari_amil.core.instances import dask_cluster
from napari_amil.core.instances.dask_cluster import DaskCluster
from napari_amil.core.instances.executor import Finished

def work(item):
    if item == 1:
        raise AmilError("one is refused")
    if item == 2:
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    yield "said"
    return item / 2

if __name__ == "__main__":
    os.cpu_count = lambda: 2
    said = list(DaskCluster("local").run(work, range(6)))
    for number in range(6):
        own = [message for n, message in said if n == number]
        print(number, [m for m in own if m == "said"], own[-1].value, own[-1].error)
    try:
        list(DaskCluster("nonsense://1").run(work, [1]))
    except AmilError as error:
        print(error)
    dask_cluster._PATIENCE_S = 0.5
    with LocalCluster(n_workers=0, dashboard_address=None) as empty:
        try:
            list(DaskCluster(empty.scheduler_address).run(work, [0]))
        except AmilError as error:
            print(error)
"""


def test_a_local_cluster_does_all_work_but_the_item_whose_worker_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=240, check=False)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["0 ['said'] 0.0 None", "1 [] None one is refused"], done.stderr
    assert lines[2].startswith("2 [] None The worker that worked on it was lost (KilledWorker)")
    assert lines[3:6] == ["3 ['said'] 1.5 None", "4 ['said'] 2.0 None", "5 ['said'] 2.5 None"]
    assert "start one with 'dask scheduler'" in lines[6]
    assert lines[7].startswith("The Dask cluster has no worker; start some")

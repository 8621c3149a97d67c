"""Samples come from the machine or, checked, from the publishers; failures are one sentence."""

from __future__ import annotations

import functools
import gc
import hashlib
import http.server
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from napari_amil.core.base.errors import ImageError
from napari_amil.core.cohort import samples


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, socket_enabled: None) -> Iterator[Path]:
    """Folder that a server on this machine serves in place of the publishers' page."""
    served = tmp_path / "served"
    served.mkdir()
    handler = functools.partial(_Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.delenv(samples.DATA_VARIABLE, raising=False)
        monkeypatch.setattr(samples, "REAL_URL", f"http://127.0.0.1:{server.server_port}/{samples.REAL_FILE}")
        monkeypatch.setattr(samples.pooch, "os_cache", lambda project: tmp_path / project)
        yield served
        server.shutdown()
        thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # requests leaves the socket of a refused page to the garbage collector


def test_the_made_up_field() -> None:
    smear = samples.synthetic_field()
    assert smear.image.shape == (480, 640, 3)
    assert len(smear.cells) > 80


def test_a_download_is_checked_and_kept(publisher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    field = np.full((40, 50, 3), 200, np.uint8)
    path = publisher / samples.REAL_FILE
    PIL.Image.fromarray(field).save(path)
    monkeypatch.setattr(samples, "REAL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    np.testing.assert_allclose(samples.real_field(), field, atol=2)
    path.unlink()
    np.testing.assert_allclose(samples.real_field(), field, atol=2)


def test_other_bytes_are_refused(publisher: Path) -> None:
    (publisher / samples.REAL_FILE).write_bytes(b"something else")
    with pytest.raises(ImageError, match="its checksum differs"):
        samples.real_field()


def test_no_connection_is_one_sentence(publisher: Path) -> None:
    with pytest.raises(ImageError, match="could not be downloaded") as caught:
        samples.real_field()
    assert "\n" not in str(caught.value)


def test_the_local_copy_is_the_publishers_file(chula: Path) -> None:
    content = (chula / "images" / samples.REAL_FILE).read_bytes()
    assert hashlib.sha256(content).hexdigest() == samples.REAL_SHA256
    assert samples.real_field().shape == (480, 640, 3)


def test_samples_need_neither_torch_nor_a_window() -> None:
    code = (
        "import sys, napari_amil.core.cohort.samples; print(*{'torch', 'napari', 'qtpy'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == ""

"""Every test starts from one seed, without the internet; real smears come from a named folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch
import torchvision  # noqa: F401 - importing it after a viewer exists crashes where Mesa draws: before all tests

from napari_amil.core.base.device import seed_everything

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

DATA_VARIABLE = "NAPARI_AMIL_DATA"

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def _missing_data(folder: str) -> str:
    """Return why the real data cannot be read, or nothing."""
    root = os.environ.get(DATA_VARIABLE)
    if not root:
        return f"{DATA_VARIABLE} does not name a folder with real smears"
    if not Path(root, folder).is_dir():
        return f"{DATA_VARIABLE} = {root} holds no folder '{folder}'"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that asks for real smears, and skip it where they are absent."""
    missing = _missing_data("chula_slides")
    for item in items:
        if {"chula", "diseases"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.realdata)
        if missing and item.get_closest_marker("realdata"):
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="session")
def chula() -> Path:
    """Folder of Chula RBC-12 dealt by slide (``images``, ``cells.csv``, ``bags.csv``, ``fields.csv``)."""
    return Path(os.environ[DATA_VARIABLE], "chula_slides").resolve()


@pytest.fixture(scope="session")
def diseases() -> Path:
    """Folder of fields of five diseases at another magnification, a folder each."""
    return Path(os.environ[DATA_VARIABLE], "chula", "diseases").resolve()


@pytest.fixture(scope="session")
def repository() -> Path:
    """Folder of the repository that the tests belong to."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small tensors are slower, and less repeatable, on many threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    seed_everything(0)


@contextmanager
def limited_files(n_bytes: int) -> Iterator[None]:
    """Let this process, and for good the children it starts meanwhile, write no larger file: a full disk.

    No bytecode is written meanwhile: a module that is imported for the first time would leave half of it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_files() -> Callable[[int], AbstractContextManager[None]]:
    if resource is None:
        pytest.skip("there is no limit for files on Windows")
    return limited_files

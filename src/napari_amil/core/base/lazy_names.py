"""Names of a package whose modules are imported on first use."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType


def lazy_names(package: str, file: str) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package whose imports stand under ``if TYPE_CHECKING``.

    So readers, type checkers and the test of the architecture see ordinary imports, and no name is
    written down twice. No name may be that of a file of the package, which Python would put in its place.

    Parameters
    ----------
    package
        ``__name__`` of the package.
    file
        Its ``__file__``.
    """
    homes = _homes(Path(file))

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        value: object = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted(homes)

    return get, names


def load_names(package: ModuleType) -> None:
    """Import every module of a package with lazy names now, so that nothing waits for them later."""
    for name in dir(package):
        getattr(package, name)


def _homes(file: Path) -> dict[str, str]:
    """Return the module of each name that a file imports under a condition."""
    conditions = [
        node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.If)
    ]
    imports = [node for block in conditions for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}

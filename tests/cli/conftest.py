"""The command line in this process: its modules wait in ``sys.modules`` until somebody looks at them.

pydantic looks through these while it makes a class of settings, so all such classes are made first.
"""

from __future__ import annotations

import importlib

importlib.import_module("napari_amil.core.pipeline")

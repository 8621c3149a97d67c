"""The command line in this process: its modules wait in ``sys.modules`` until somebody looks at them.

pydantic looks through these while it makes a class of settings, so all such classes are made first.
"""

from __future__ import annotations

from napari_amil.core import pipeline
from napari_amil.core.base.lazy_names import load_names

load_names(pipeline)

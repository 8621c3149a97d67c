"""Serve the window that started this process.

Only the worker writes to the stream of the replies: what libraries print goes to standard error.
"""

import os
import sys

from napari_amil.core import pipeline
from napari_amil.core.base.lazy_names import load_names
from napari_amil.worker.jobs import JOBS
from napari_amil.worker.serving import serve

if __name__ == "__main__":
    load_names(pipeline)
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, replies, JOBS)

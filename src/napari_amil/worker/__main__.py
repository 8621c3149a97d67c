"""Serve the window that started this process."""

import sys

from napari_amil.worker.serving import serve

if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)

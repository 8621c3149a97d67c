"""A real child process that starts at once and misbehaves as the name of the model asks."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Generator

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed, Step, Warned
from napari_amil.worker.protocol.messages import Info, ModelCard
from napari_amil.worker.serving import serve


def info(request: Info) -> Generator[Event, None, ModelCard]:
    yield from ()
    match request.bundle:
        case "slow":
            yield Step("wait", 1, 100, "Waiting")
            time.sleep(60)
        case "talk":
            sys.stdout.write("a library talks\n[1, 2]\n" + '{"id": 1, "event": "Nonsense"}\n')
            sys.stdout.flush()
            yield Warned("careful")
            yield Failed("b.png", "it is empty.")
        case "leave":
            sys.stderr.write("cannot allocate 12 GiB\n")
            sys.stderr.flush()
            os._exit(3)
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "refuse":
            raise AmilError("The bag is empty; find cells first.")
        case "no newline":
            for _ in range(300):
                sys.stdout.write("x" * 2**20)
            time.sleep(60)
        case "garbage":
            while True:
                sys.stdout.write("neither JSON nor an end\n" * 1000)
        case "wrong reply":
            sys.stdout.write('{"id": 1, "event": "Result", "fields": {"card": {}, "settings": 3}}\n')
            sys.stdout.flush()
    return ModelCard(card={"pid": os.getpid()}, settings={}, classes=())


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer, {Info: info})

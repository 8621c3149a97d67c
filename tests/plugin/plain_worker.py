"""A real child process that starts at once: it talks, waits, refuses, leaves and crashes when told to."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any


def say(record: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def answer(job: str, number: int) -> None:
    if job == "slow":
        say({"id": number, "event": "Step", "stage": "wait", "done": 1, "total": 100, "message": "Waiting"})
        time.sleep(60)
    elif job == "talk":
        sys.stdout.write("a library talks\n[1, 2]\n")
        say({"id": number, "event": "Warned", "message": "careful"})
        say({"id": number, "event": "Failed", "source": "b.png", "reason": "it is empty."})
        say({"id": number, "event": "Nonsense"})
    elif job == "leave":
        sys.stderr.write("cannot allocate 12 GiB\n")
        sys.exit(3)
    elif job == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    elif job == "refuse":
        say({"id": number, "event": "Error", "message": "The bag is empty; find cells first."})
        return
    say({"id": number, "event": "Result", "pid": os.getpid()})


if __name__ == "__main__":
    say({"event": "Ready"})
    for line in sys.stdin:
        request = json.loads(line)
        answer(request["job"], request["id"])

"""Ctrl-C while the program starts, before there is work that must be closed."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""Exit code when Ctrl-C ended the work, as shells count it."""
STOPPED = "Stopped. What is done is kept where the command can go on: give it again."


def end_at_once() -> None:
    """Let Ctrl-C end the process with a sentence, in the middle of an import too.

    A program that a script starts in the background ignores Ctrl-C from birth; it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def interrupt_work() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again, so that work closes what it has open."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    os.write(2, f"{STOPPED}\n".encode())
    os._exit(INTERRUPTED)

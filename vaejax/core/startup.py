"""What `python -m vaejax.main` does first: signals end it in one line, and it starts faster.

An interruption while it imports is no traceback. Python's garbage collector runs less often than
by default: imports and traces make many objects that stay, and looking through all of them again
and again takes a seventh of a warm start.

Python imports this package before the module of the command, so its handlers are set here; those of
`training.interruption` replace them. Nothing happens in any other program.
"""

import gc
import os
import signal
import sys

__all__: list[str] = []


def _is_command() -> bool:
    """Whether this process was started as the command and is importing the package."""
    return sys.argv[:1] == ["-m"] and "vaejax.main" in sys.orig_argv


def _stop(number: int, _: object) -> None:
    name = signal.Signals(number).name
    os.write(2, f"error: stopped by {name} before anything was read or written\n".encode())
    os._exit(128 + number)


if _is_command():
    gc.set_threshold(50_000, 20, 100)
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, _stop)

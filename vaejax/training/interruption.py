"""SIGTERM and Ctrl-C: a training saves and stops; anything else ends at once, with one line.

The exit status is 128 + the number of the signal, as a shell reports it: 143 and 130.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import jax

from vaejax.core.files import remove_temporaries
from vaejax.training.lock import release_all

__all__ = ["Interruption", "StoppedError", "finish", "install"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_AGAIN_SECONDS = 0.5  # one key press may arrive twice, from the terminal and from a launcher


class StoppedError(Exception):
    """A signal ended a training early, which saved its state.

    Attributes:
      signal: its number.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = number


class Interruption:
    """Context in which SIGTERM and Ctrl-C are noted instead of ending the process.

    In the command, see `install`, this begins with `arm`. In a run of several processes SIGTERM is
    JAX's, which lets them agree on a step to stop at (`multihost_utils`); Ctrl-C is passed on to
    it.

    Attributes:
      signal: number of the signal; 0 if there was none.
    """

    def __init__(self) -> None:
        self.signal, self._since = 0, 0.0
        self._handlers: list[tuple[int, Any]] = []
        self._armed = False

    def __enter__(self) -> "Interruption":
        if _Watcher.instance is None:
            self.arm()
        return self

    def arm(self) -> None:
        """From now on signals are noted. Has no effect outside of the main thread.

        In the command, until then they end the process at once, which may be compiling for minutes.
        """
        if self._armed or threading.current_thread() is not threading.main_thread():
            return
        self._armed = True
        if _Watcher.instance is not None:
            _Watcher.instance.noting = self
            return
        noted = _SIGNALS[1:] if jax.distributed.is_initialized() else _SIGNALS
        self._handlers = [(s, signal.signal(s, self._handle)) for s in noted]

    def note(self, number: int) -> bool:
        """Notes a signal; returns whether it is a second Ctrl-C, which stops at once."""
        again = self.signal != 0 and number == signal.SIGINT
        if again and time.monotonic() - self._since > _AGAIN_SECONDS:
            return True
        if not self.signal:
            self.signal, self._since = number, time.monotonic()
            if jax.distributed.is_initialized() and number == signal.SIGINT:
                os.kill(os.getpid(), signal.SIGTERM)
        return False

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.note(number):
            raise KeyboardInterrupt

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if _Watcher.instance is not None and _Watcher.instance.noting is self:
            _Watcher.instance.noting = None
        for s, handler in self._handlers:
            signal.signal(s, handler)


class _Watcher:
    """A thread that gets every signal at once, also while the main thread compiles."""

    instance: "_Watcher | None" = None

    def __init__(self, what: Callable[[], str]) -> None:
        self.noting: Interruption | None = None
        self._what = what
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        for s in _SIGNALS:
            signal.signal(s, lambda *_: None)  # Python writes to the socket before it calls this
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def _watch(self) -> None:
        while True:
            for number in self._read.recv(64):
                if number not in _SIGNALS:
                    continue
                noting = self.noting
                if noting is None or noting.note(number):
                    self._exit(number)

    def _exit(self, number: int) -> None:
        for clean in (sys.stdout.flush, remove_temporaries, release_all):
            # In a thread, since the main one may hold the lock of what is flushed.
            thread = threading.Thread(target=_quietly, args=(clean,), daemon=True)
            thread.start()
            thread.join(2.0)
        line = f"error: stopped by {_name(number)}{self._what()}\n"
        if _progress_is_shown():
            line = "\n" + line
        os.write(2, line.encode())
        os._exit(128 + number)


def _progress_is_shown() -> bool:
    """Whether a progress bar has written to a line that it has not ended."""
    tqdm = sys.modules.get("tqdm")
    return tqdm is not None and bool(getattr(tqdm.tqdm, "_instances", ()))


def _name(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def _quietly(function: Callable[[], Any]) -> None:
    try:
        function()
    except Exception:  # the process ends in any case
        return


def install(what: Callable[[], str]) -> None:
    """Makes SIGTERM and Ctrl-C end this process with one line, except in an armed `Interruption`.

    For a command, from its main thread.

    Args:
      what: completes the line "stopped by Ctrl-C".
    """
    if _Watcher.instance is None:
        _Watcher.instance = _Watcher(what)


def finish() -> None:
    """Ignores signals while the process ends, whose result and exit status are decided."""
    if threading.current_thread() is threading.main_thread():
        for s in _SIGNALS:
            signal.signal(s, signal.SIG_IGN)

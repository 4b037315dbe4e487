"""Keeps Orbax from printing: what fails in its threads is raised here, and reported in one line."""

import logging
import sys
import threading
from types import TracebackType
from typing import Any

from absl import logging as absl_logging

__all__ = ["SilentOrbax"]

_LOOP_CLOSED = "Event loop is closed"


def _of_orbax(trace: TracebackType | None) -> bool:
    """Whether an exception passed through Orbax's code."""
    while trace is not None:
        if "orbax" in trace.tb_frame.f_code.co_filename:
            return True
        trace = trace.tb_next
    return False


def _keep(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


class SilentOrbax:
    """From its creation until `end`, failures inside Orbax's threads print nothing.

    After a failure it never ends: Orbax closes the event loop at the first error, while
    TensorStore's threads still report to it, and what nobody waits for is reported when it is
    collected.

    Attributes:
      failed: to be set after a failure.
    """

    def __init__(self) -> None:
        self.failed = False
        self._asyncio = logging.getLogger("asyncio")
        self._level = self._asyncio.level
        self._before: tuple[Any, Any] = (sys.unraisablehook, threading.excepthook)
        sys.unraisablehook, threading.excepthook = self._unraisable, self._of_thread
        self._asyncio.setLevel(logging.CRITICAL)
        absl_logging.get_absl_logger().addFilter(_keep)

    def _unraisable(self, unraisable: Any) -> None:
        code = getattr(unraisable.object, "cr_code", None)  # of a coroutine
        if code is not None and "orbax" in code.co_filename:
            return
        if str(unraisable.exc_value) != _LOOP_CLOSED and not _of_orbax(unraisable.exc_traceback):
            self._before[0](unraisable)

    def _of_thread(self, arguments: Any) -> None:
        if not _of_orbax(arguments.exc_traceback):
            self._before[1](arguments)

    def end(self) -> None:
        """Puts the former hooks back, unless something failed or others were set meanwhile."""
        if self.failed:
            return
        if sys.unraisablehook == self._unraisable:
            sys.unraisablehook = self._before[0]
        if threading.excepthook == self._of_thread:
            threading.excepthook = self._before[1]
        self._asyncio.setLevel(self._level)
        absl_logging.get_absl_logger().removeFilter(_keep)

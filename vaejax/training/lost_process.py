"""What a process says and does when another one of its run is lost."""

import ctypes
import os
import signal

import jax

__all__ = ["lost_process", "report_abort"]

_REMEDY = "the same command, on all hosts, resumes from the last checkpoint"
_OF_COLLECTIVES = ("Gloo", "NCCL", "coordination service", "Barrier timed out", "Barrier failed")
_OF_JAX = ("Connection reset", "Connection closed")
_ABORTED = (
    "error: JAX ended this process, see above: most likely another process of this run has ended "
    f"or cannot be reached; {_REMEDY}\n"
)


def lost_process(error: BaseException) -> str | None:
    """What to say of an error that comes from the loss of another process; None of any other.

    The errors that it was raised from count too: a checkpoint cannot be read either if the other
    process ends while both read it.

    Args:
      error: that ended a run in several processes.
    """
    seen: BaseException | None = error
    while seen is not None:
        if text := _text_of_loss(seen):
            return (
                "another process of this run has ended or cannot be reached, and says why itself; "
                f"{_REMEDY} ({text[:160]})"
            )
        seen = seen.__cause__ or seen.__context__
    return None


def _text_of_loss(error: BaseException) -> str | None:
    text = " ".join(str(error).split())
    of_jax = isinstance(error, jax.errors.JaxRuntimeError)
    words = (*_OF_COLLECTIVES, *_OF_JAX) if of_jax else _OF_COLLECTIVES
    # Some of JAX's functions pass the message on as a ValueError.
    passed_on = of_jax or isinstance(error, ValueError)
    return text if passed_on and any(word in text for word in words) else None


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _on_abort(number: int) -> None:
    del number
    os.write(2, _ABORTED.encode())
    os._exit(2)


def report_abort() -> None:
    """From now on an abort of this process ends with a line and exit code 2.

    JAX aborts a process when it misses another one, from a thread of its own, which no handler of
    Python's could notice.
    """
    ctypes.CDLL(None).signal(signal.SIGABRT, _on_abort)

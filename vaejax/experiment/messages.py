"""The one line that the command prints for an error."""

from vaejax.core.files import WriteError
from vaejax.experiment.workdir import ConfigChangedError
from vaejax.export.hub import HubError
from vaejax.training import NotFiniteError
from vaejax.training.checkpoint import CorruptCheckpointError
from vaejax.training.lock import LockedError

__all__ = ["message_of"]

_OWN = (
    *(ValueError, OSError, ImportError, NotFiniteError, CorruptCheckpointError, LockedError),
    HubError,
)
_LONGEST = 400  # characters of an error that is not the library's


def message_of(error: BaseException) -> str:
    """What went wrong, on one line (a changed configuration: a line for each field).

    Errors that no check foresaw are named with their type, and with how to get the traceback.
    """
    if isinstance(error, OSError) and error.filename is not None:  # without [Errno 13]
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ConfigChangedError | WriteError):
        return str(error)
    text = " ".join(str(error).split())
    if isinstance(error, _OWN):
        return text
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return (
            "out of memory; make train.batch_size, the sizes in model or sample.count smaller, or "
            f"raise train.grad_accumulation_steps ({_short(text)})"
        )
    name = type(error).__name__
    return f"{name}: {_short(text)} (set VAEJAX_TRACEBACK=1 for the traceback)"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."

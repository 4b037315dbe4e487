"""Progress bars, where tqdm is installed."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

__all__ = ["progress"]

T = TypeVar("T")


def progress(items: Sequence[T], description: str) -> Iterable[T]:
    """The items, with a progress bar on stderr if tqdm is installed."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return items
    return tqdm(items, desc=description, mininterval=0.5, leave=False)

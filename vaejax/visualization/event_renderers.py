"""Renderers of the events of a source: images, films, signals as lines, tokens as text."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from vaejax.core.events import EVENTS
from vaejax.core.files import write_text
from vaejax.data import Source
from vaejax.data.preprocess import event_shape
from vaejax.visualization import plots

__all__ = ["EventRenderer", "event_renderer"]


class EventRenderer(NamedTuple):
    """Writes files that show events of one kind.

    Attributes:
      suffix: of the files.
      reconstructions: `(path, events, their reconstructions)`.
      samples: `(path, events, title)`.
    """

    suffix: str
    reconstructions: Callable[[Path, np.ndarray, np.ndarray], None]
    samples: Callable[[Path, np.ndarray, str], None]


def event_renderer(source: Source) -> EventRenderer | None:
    """The renderer of a source's events; None for events that cannot be drawn, such as vectors."""
    rows = source.take(np.zeros(1, np.int32))
    batch = jax.eval_shape(source.decode, rows)
    kind = next(name for name in EVENTS if name in batch)
    if kind == "signal":
        return EventRenderer(".png", plots.signal_reconstructions, plots.signal_samples)
    if kind == "tokens" and len(event_shape(source)) == 1:
        return _text_renderer(source.token_names)
    if kind == "sequence" and plots.is_film(event_shape(source)):
        return EventRenderer(".png", plots.film_reconstructions, plots.film_samples)
    if plots.is_image(event_shape(source)):
        return EventRenderer(".png", plots.image_reconstructions, plots.image_samples)
    return None


def _text_renderer(names: Sequence[str] | None) -> EventRenderer:
    """A renderer of tokens as text.

    Characters are joined without spaces; words, and numbers of tokens without names, with spaces. A
    line with ^ below a reconstruction marks its errors.
    """
    separator = "" if names and max(map(len, names)) == 1 else " "

    def words(tokens: np.ndarray) -> list[str]:
        return [names[i] if names else str(i) for i in tokens]

    def reconstructions(path: Path, x: np.ndarray, reconstruction: np.ndarray) -> None:
        wrong = x != reconstruction
        text = [f"Reconstructions below the data; ^ marks {wrong.sum():,} wrong of {x.size:,}."]
        for data_row, row, wrong_row in zip(x, reconstruction, wrong, strict=True):
            row_words = words(row)
            text += ["", separator.join(words(data_row)), separator.join(row_words)]
            if wrong_row.any():
                marks = [
                    ("^" if w else " ") * len(word)
                    for word, w in zip(row_words, wrong_row, strict=True)
                ]
                text.append(separator.join(marks).rstrip())
        write_text(path, "\n".join(text) + "\n")

    def samples(path: Path, tokens: np.ndarray, title: str) -> None:
        lines = [separator.join(words(row)) for row in tokens]
        write_text(path, "\n".join([title, "", *lines]) + "\n")

    return EventRenderer(".txt", reconstructions, samples)

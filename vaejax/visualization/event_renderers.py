"""How the events of a source are shown: images, films, signals as lines, tokens as text."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from vaejax.core.events import EVENTS
from vaejax.data import Source
from vaejax.data.preprocess import event_shape
from vaejax.visualization.plots import film_strips, grids_and_curves, signals


class Showing(NamedTuple):
    """How events are shown.

    Attributes:
      suffix: of the files.
      reconstructions: (file, events, what the model makes of them) -> writes it.
      samples: (file, events, title) -> writes it.
    """

    suffix: str
    reconstructions: Callable[[Path, np.ndarray, np.ndarray], None]
    samples: Callable[[Path, np.ndarray, str], None]


def showing(source: Source) -> Showing | None:
    """How a source's events are shown; None if there is no way, as with vectors."""
    rows = source.take(np.zeros(1, np.int32))
    batch = jax.eval_shape(source.decode, rows)
    kind = next(name for name in EVENTS if name in batch)
    if kind == "signal":
        return Showing(".png", signals.reconstructions, signals.samples)
    if kind == "tokens" and len(event_shape(source)) == 1:
        return _as_text(source.token_names)
    if kind == "sequence" and film_strips.is_film(event_shape(source)):
        return Showing(".png", film_strips.reconstructions, film_strips.samples)
    if grids_and_curves.is_image(event_shape(source)):
        return Showing(".png", grids_and_curves.reconstructions, grids_and_curves.samples)
    return None


def _as_text(names: Sequence[str] | None) -> Showing:
    """Files of text: characters side by side; words, and numbers where there are no names, apart.

    Below a reconstruction that is wrong somewhere, another line has a ^ for what is wrong.
    """
    gap = "" if names and max(map(len, names)) == 1 else " "

    def words(tokens: np.ndarray) -> list[str]:
        return [names[i] if names else str(i) for i in tokens]

    def reconstructions(path: Path, x: np.ndarray, guess: np.ndarray) -> None:
        wrong = x != guess
        text = [f"Reconstructions below the data; ^ marks {wrong.sum():,} wrong of {x.size:,}."]
        for one, other, differs in zip(x, guess, wrong, strict=True):
            shown = words(other)
            text += ["", gap.join(words(one)), gap.join(shown)]
            if differs.any():
                marks = [("^" if d else " ") * len(w) for w, d in zip(shown, differs, strict=True)]
                text.append(gap.join(marks).rstrip())
        path.write_text("\n".join(text) + "\n", encoding="utf-8")

    def samples(path: Path, guess: np.ndarray, title: str) -> None:
        lines = [gap.join(words(row)) for row in guess]
        path.write_text("\n".join([title, "", *lines]) + "\n", encoding="utf-8")

    return Showing(".txt", reconstructions, samples)

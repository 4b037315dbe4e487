"""Figures of image sequences `[N, T, H, W, C]`: film strips and animations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.core.files import replacing
from vaejax.visualization.plots.image_grids import is_image, save_grid, tile
from vaejax.visualization.plots.style import INK, LINES, PALE

__all__ = [
    "OBSERVED",
    "PREDICTED",
    "UNMARKED",
    "animation",
    "film_reconstructions",
    "film_samples",
    "framed",
    "is_film",
    "rollouts",
    "strips",
]

UNMARKED, OBSERVED, PREDICTED = 0, 1, 2  # kinds of a frame
BORDER_COLOURS = (PALE, LINES["train"], LINES["eval"])  # of each kind
_LEGEND = "blue: observed, orange: predicted"
_BORDER = 2  # pixels
_MAX_FRAMES = 20  # of a strip
_MIN_SIDE = 64  # pixels of a frame of an animation
_GREYS = 240  # levels of grey in an animation; the other palette entries are for borders
_FRAME_MS, _LAST_FRAME_MS = 120, 900  # durations in milliseconds


def is_film(shape: Sequence[int]) -> bool:
    """Whether events of this shape can be drawn as films: (T, H, W, 1) or (T, H, W, 3)."""
    return len(shape) == 4 and is_image(shape[1:])


def _rgb(colour: str) -> np.ndarray:
    """Float32 `[3]` in [0, 1] of '#rrggbb'."""
    return np.frombuffer(bytes.fromhex(colour[1:]), np.uint8).astype(np.float32) / 255


def framed(films: np.ndarray, marks: np.ndarray | None = None, border: int = _BORDER) -> np.ndarray:
    """RGB frames with a border in the colour of their kind.

    Args:
      films: `[N, T, H, W, C]`, C 1 or 3, clipped to [0, 1].
      marks: the kind of every frame `[N, T]`: `UNMARKED`, `OBSERVED` or `PREDICTED`; None for none.
      border: b, pixels.

    Returns:
      Float32 `[N, T, H + 2b, W + 2b, 3]`.
    """
    n, t, h, w, _ = films.shape
    marks = np.full((n, t), UNMARKED) if marks is None else np.asarray(marks)
    colours = np.stack([_rgb(colour) for colour in BORDER_COLOURS])[marks]  # [N, T, 3]
    shape = (n, t, h + 2 * border, w + 2 * border, 3)
    sheet = np.broadcast_to(colours[:, :, None, None], shape).copy()
    inside = slice(border, border + h), slice(border, border + w)
    sheet[:, :, inside[0], inside[1]] = np.clip(films, 0, 1)  # one channel becomes three
    return sheet


def strips(
    path: Path,
    films: np.ndarray,
    *,
    marks: np.ndarray | None = None,
    title: str = "",
    row_labels: Sequence[str] = (),
) -> None:
    """One film per row with at most 20 evenly spaced frames, whose times are the column labels.

    Args:
      path: of the PNG.
      films: `[N, T, H, W, C]`.
      marks: as in `framed`; None for none.
      title: above the grid.
      row_labels: one for each row, or none.
    """
    length = films.shape[1]
    times = np.unique(np.linspace(0, length - 1, min(_MAX_FRAMES, length)).round().astype(int))
    frames = framed(films[:, times], None if marks is None else marks[:, times])
    marked = marks is not None and bool((marks != UNMARKED).any())
    save_grid(
        path,
        frames.reshape(-1, *frames.shape[2:]),
        len(times),
        title=f"{title} ({_LEGEND})" if marked else title,
        row_labels=row_labels,
        column_labels=[str(t) for t in times],
        inches=0.5,
    )


def animation(
    path: Path, films: np.ndarray, *, marks: np.ndarray | None = None, columns: int = 0
) -> None:
    """All films side by side, in rows of `columns`, as a GIF that loops.

    Small frames are enlarged by an integer factor. A bar below shows the time.

    Args:
      path: of the GIF.
      films: `[N, T, H, W, C]`.
      marks: as in `framed`; None for none.
      columns: films per row; 0 for a square-ish grid.

    Raises:
      ImportError: Pillow is not installed.
    """
    length, height, width, channels = films.shape[1:]
    zoom = max(1, -(-_MIN_SIDE // max(height, width)))
    if channels == 1:
        films = np.rint(films * _GREYS) / _GREYS
    columns = columns or int(np.ceil(np.sqrt(len(films))))
    large = films.repeat(zoom, axis=2).repeat(zoom, axis=3)
    sheets = []
    for t, frames in enumerate(np.moveaxis(framed(large, marks), 1, 0)):
        sheet = tile(frames, columns)
        bar = np.broadcast_to(_rgb("#dddddd"), (4, sheet.shape[1], 3)).copy()
        bar[:, : round((t + 1) / length * sheet.shape[1])] = _rgb(INK)
        sheets.append(_palette_image(np.rint(255 * np.concatenate([sheet, bar])).astype(np.uint8)))
    durations = [_FRAME_MS] * (length - 1) + [_LAST_FRAME_MS]
    options = {"append_images": sheets[1:], "duration": durations, "loop": 0}
    with replacing(path) as temporary:
        sheets[0].save(temporary, save_all=True, **options)


def _palette_image(pixels: np.ndarray) -> Any:
    """A Pillow image of pixels uint8 `[H, W, 3]`, exact if they have at most 256 colours."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "animations need Pillow: pip install 'vaejax[train]' (or 'pillow')"
        ) from error
    codes = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    palette, index = np.unique(codes, return_inverse=True)
    if len(palette) > 256:
        return Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    image = Image.fromarray(index.reshape(codes.shape).astype(np.uint8))
    image.putpalette([(int(code) >> shift) & 255 for code in palette for shift in (16, 8, 0)])
    return image


def film_reconstructions(path: Path, x: np.ndarray, mean: np.ndarray, count: int = 6) -> None:
    """Pairs of strips, data above its reconstruction, and an animation in a `.gif` of that name.

    Args:
      path: of the PNG.
      x: the data, `[N, T, H, W, C]`.
      mean: the reconstructions, `[N, T, H, W, C]`.
      count: pairs at most, evenly spaced over the N.
    """
    rows = np.linspace(0, len(x) - 1, min(count, len(x))).astype(int)
    pairs = np.stack([x[rows], mean[rows]], axis=1)
    films = pairs.reshape(-1, *x.shape[1:])
    labels = ["data", "reconstruction"] * len(rows)
    strips(path, films, title="Reconstructions", row_labels=labels)
    side_by_side = np.moveaxis(pairs, 1, 0).reshape(-1, *x.shape[1:])
    animation(path.with_suffix(".gif"), side_by_side, columns=len(rows))


def film_samples(
    path: Path, films: np.ndarray, title: str = "Samples from the prior", count: int = 10
) -> None:
    """The first `count` of sequences `[N, T, H, W, C]` as strips; all of them in a `.gif`."""
    strips(path, films[:count], title=title)
    animation(path.with_suffix(".gif"), films)


def rollouts(
    path: Path,
    x: np.ndarray,
    predictions: np.ndarray,
    *,
    reconstruction: np.ndarray | None = None,
    title: str = "Rollouts",
) -> None:
    """Each sequence, its reconstruction and several rollouts: strips, and an animation.

    Borders distinguish frames that the model observed and those that it predicted; the data after
    the observed part has no mark.

    Args:
      path: of the PNG; the animation is a `.gif` of the same name, one sequence per row.
      x: the data, `[N, T, H, W, C]`.
      predictions: R rollouts after the first k frames, `[N, R, T − k, H, W, C]`.
      reconstruction: of the first k frames at least, `[N, ≥ k, H, W, C]`; shown in a row of its
        own, and before the rollouts in place of the data. None for none.
      title: above the grid.
    """
    count, length = predictions.shape[1:3]
    k = x.shape[1] - length
    past = x if reconstruction is None else reconstruction
    rows, marks, labels = [x], [[OBSERVED] * k + [UNMARKED] * length], ["data"]
    if reconstruction is not None:
        padded = np.ones_like(x)
        padded[:, : reconstruction.shape[1]] = reconstruction
        rows.append(padded)
        marks.append([UNMARKED] * x.shape[1])
        labels.append("reconstruction")
    for r in range(count):
        rows.append(np.concatenate([past[:, :k], predictions[:, r]], axis=1))
        marks.append([OBSERVED] * k + [PREDICTED] * length)
        labels.append(f"rollout {r + 1}" if count > 1 else "rollout")
    films = np.stack(rows, axis=1).reshape(-1, *x.shape[1:])
    all_marks = np.tile(np.array(marks), (len(x), 1))
    strips(path, films, marks=all_marks, title=title, row_labels=labels * len(x))
    animation(path.with_suffix(".gif"), films, marks=all_marks, columns=len(rows))

"""Pictures of sequences `[N, T, H, W, C]`: film strips and animations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.visualization.plots.grids_and_curves import INK, LINES, PALE, is_image, save_grid, tile

UNMARKED, GIVEN, PREDICTED = 0, 1, 2  # what a frame's border says
COLOURS = (PALE, LINES["train"], LINES["eval"])
_LEGEND = "blue: given, orange: predicted"
_BORDER = 2  # pixels
_SHOWN = 20  # frames of a strip at most
_SIDE = 64  # pixels that a frame of an animation has at least
_GREYS = 240  # steps of brightness in an animation, which leaves colours for the rest
_STEP, _PAUSE = 120, 900  # milliseconds of a frame, and of the last


def is_film(shape: Sequence[int]) -> bool:
    """Whether events of this shape can be drawn: (T, H, W, 1) or (T, H, W, 3)."""
    return len(shape) == 4 and is_image(shape[1:])


def _rgb(colour: str) -> np.ndarray:
    """Float32 `[3]` in [0, 1] of '#rrggbb'."""
    return np.frombuffer(bytes.fromhex(colour[1:]), np.uint8).astype(np.float32) / 255


def framed(films: np.ndarray, marks: np.ndarray | None = None, border: int = _BORDER) -> np.ndarray:
    """Frames in colour with a border that says what they are.

    Args:
      films: `[N, T, H, W, C]`, C 1 or 3, clipped to [0, 1].
      marks: of every frame `[N, T]`: `UNMARKED`, `GIVEN` or `PREDICTED`; None for none.
      border: b, pixels.

    Returns:
      Float32 `[N, T, H + 2b, W + 2b, 3]`.
    """
    n, t, h, w, _ = films.shape
    marks = np.full((n, t), UNMARKED) if marks is None else np.asarray(marks)
    colours = np.stack([_rgb(colour) for colour in COLOURS])[marks]  # [N, T, 3]
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
    """One film a row, time along it: at most 20 frames, spread over the film, numbered below.

    Args:
      path: of the PNG.
      films: `[N, T, H, W, C]`.
      marks: as in `framed`; None for none.
      title: above.
      row_labels: one a row, or none.
    """
    length = films.shape[1]
    times = np.unique(np.linspace(0, length - 1, min(_SHOWN, length)).round().astype(int))
    shown = framed(films[:, times], None if marks is None else marks[:, times])
    marked = marks is not None and bool((marks != UNMARKED).any())
    save_grid(
        path,
        shown.reshape(-1, *shown.shape[2:]),
        len(times),
        title=f"{title} ({_LEGEND})" if marked else title,
        row_labels=row_labels,
        column_labels=[str(t) for t in times],
        inches=0.5,
    )


def animation(
    path: Path, films: np.ndarray, *, marks: np.ndarray | None = None, columns: int = 0
) -> None:
    """All films at once, in rows of `columns`, as a GIF that goes round.

    Small frames are enlarged by a whole factor. A bar below shows the time.

    Args:
      path: of the GIF.
      films: `[N, T, H, W, C]`.
      marks: as in `framed`; None for none.
      columns: films a row; 0 for a square-ish sheet.

    Raises:
      ImportError: Pillow is not installed.
    """
    length, height, width, channels = films.shape[1:]
    zoom = max(1, -(-_SIDE // max(height, width)))
    if channels == 1:
        films = np.rint(films * _GREYS) / _GREYS
    columns = columns or int(np.ceil(np.sqrt(len(films))))
    large = films.repeat(zoom, axis=2).repeat(zoom, axis=3)
    sheets = []
    for t, frames in enumerate(np.moveaxis(framed(large, marks), 1, 0)):
        sheet = tile(frames, columns)
        bar = np.broadcast_to(_rgb("#dddddd"), (4, sheet.shape[1], 3)).copy()
        bar[:, : round((t + 1) / length * sheet.shape[1])] = _rgb(INK)
        sheets.append(_paletted(np.rint(255 * np.concatenate([sheet, bar])).astype(np.uint8)))
    durations = [_STEP] * (length - 1) + [_PAUSE]
    sheets[0].save(path, save_all=True, append_images=sheets[1:], duration=durations, loop=0)


def _paletted(pixels: np.ndarray) -> Any:
    """A Pillow image of pixels uint8 `[H, W, 3]`, exact where they have 256 colours at most."""
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


def reconstructions(path: Path, x: np.ndarray, mean: np.ndarray, count: int = 6) -> None:
    """Pairs of strips, data above its reconstruction, and beside the PNG an animation, `.gif`.

    Args:
      path: of the PNG.
      x: `[N, T, H, W, C]`, of which `count` spread over all are shown.
      mean: the same of the reconstructions.
      count: pairs at most.
    """
    picked = np.linspace(0, len(x) - 1, min(count, len(x))).astype(int)
    pairs = np.stack([x[picked], mean[picked]], axis=1)
    films = pairs.reshape(-1, *x.shape[1:])
    labels = ["data", "reconstruction"] * len(picked)
    strips(path, films, title="Reconstructions", row_labels=labels)
    side_by_side = np.moveaxis(pairs, 1, 0).reshape(-1, *x.shape[1:])
    animation(path.with_suffix(".gif"), side_by_side, columns=len(picked))


def samples(
    path: Path, films: np.ndarray, title: str = "Samples from the prior", count: int = 10
) -> None:
    """The first `count` of sequences `[N, T, H, W, C]` as strips; all of them move in `.gif`."""
    strips(path, films[:count], title=title)
    animation(path.with_suffix(".gif"), films)


def rollouts(
    path: Path,
    x: np.ndarray,
    futures: np.ndarray,
    *,
    reconstruction: np.ndarray | None = None,
    title: str = "Rollouts",
) -> None:
    """Each sequence, its reconstruction and several futures: strips, and an animation beside.

    Frames that the model was given have one colour, those that it predicted another; what came
    in truth after those given has none.

    Args:
      path: of the PNG; the animation is beside it, `.gif`, one sequence a row.
      x: `[N, T, H, W, C]`.
      futures: predicted frames that follow the first k, `[N, R, T − k, H, W, C]`.
      reconstruction: of the first k frames at least, `[N, k.., H, W, C]`; shown before the
        futures in place of the data, and in a row of its own.
      title: above.
    """
    ahead, length = futures.shape[1:3]
    k = x.shape[1] - length
    past = x if reconstruction is None else reconstruction
    rows, marks, labels = [x], [[GIVEN] * k + [UNMARKED] * length], ["data"]
    if reconstruction is not None:
        blank = np.ones_like(x)
        blank[:, : reconstruction.shape[1]] = reconstruction
        rows.append(blank)
        marks.append([UNMARKED] * x.shape[1])
        labels.append("reconstruction")
    for r in range(ahead):
        rows.append(np.concatenate([past[:, :k], futures[:, r]], axis=1))
        marks.append([GIVEN] * k + [PREDICTED] * length)
        labels.append(f"rollout {r + 1}" if ahead > 1 else "rollout")
    films = np.stack(rows, axis=1).reshape(-1, *x.shape[1:])
    told = np.tile(np.array(marks), (len(x), 1))
    strips(path, films, marks=told, title=title, row_labels=labels * len(x))
    animation(path.with_suffix(".gif"), films, marks=told, columns=len(rows))

"""Figures against one another: rate and distortion, error and horizon; as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.visualization.plots.grids_and_curves import INK, LINES, MUTED, PALE, load_pyplot

_COLOURS = ("#3b6ea5", "#d1603d", "#4f8f5b", "#8a5a9e", "#b08a2e", "#5a7d8a")


def _bound(axes: Any, nats: float, rates: np.ndarray) -> None:
    """The line on which rate and distortion add up to `nats`."""
    ends = np.array([rates.min(), rates.max()])
    label = f"sum {nats:.1f} nats"
    axes.plot(ends, nats - ends, color=PALE, lw=1, ls="--", zorder=0, label=label)


def _finish(figure: Any, axes: Any, title: str, path: Path) -> None:
    axes.set_xlabel("rate, KL(q ‖ p(z)), nats", fontsize=8, color=MUTED)
    axes.set_ylabel("distortion, −E log p(x | z), nats", fontsize=8, color=MUTED)
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.tick_params(labelsize=7, colors=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=150)
    load_pyplot().close(figure)


def rate_distortion(
    path: Path, curve: np.ndarray, betas: Sequence[str], own: tuple[float, float]
) -> None:
    """The best that any encoder could do for a decoder and a prior, and the model's own encoder.

    Args:
      path: of the PNG.
      curve: rate and distortion, `[T, 2]`, from the smallest β to 1.
      betas: of these points, as text.
      own: rate and distortion of the model's encoder.
    """
    figure, axes = load_pyplot().subplots(figsize=(4.6, 3.4), layout="constrained")
    axes.plot(*curve.T, color=LINES["train"], lw=1.3, ms=3.5, marker="o", label="annealed, by β")
    for place in sorted({len(curve) // 4, len(curve) // 2, len(curve) - 1}):
        axes.annotate(
            f"β {betas[place]}", curve[place], xytext=(5, 5), textcoords="offset points",
            fontsize=7, color=INK, annotation_clip=True,
        )  # fmt: skip
    axes.plot(*own, color=LINES["eval"], marker="s", ms=5, lw=0, label="the model's encoder")
    # At β = 1 a nat of one is worth a nat of the other: axes of like lengths show what matters.
    low, high = curve[:, 1].min(), curve[:, 1].max()
    axes.set_ylim(top=min(high, low + 3.0 * max(curve[-1, 0], own[0], own[1] - low)) + 1.0)
    _bound(axes, float(curve[-1].sum()), np.array([*curve[len(curve) // 2 :, 0], own[0]]))
    _finish(figure, axes, "Rate and distortion of this decoder and prior", path)


def _text(settings: Mapping[str, float], names: Sequence[str]) -> str:
    return ", ".join(f"{name.split('.')[-1]} {settings[name]:g}" for name in names)


def sweep_rates(path: Path, found: Mapping[str, Any]) -> bool:
    """Where the models of a sweep over weights of losses end: means over seeds, labelled by weight.

    Args:
      path: of the PNG.
      found: as from `evaluation.sweep.results`.

    Returns:
      Whether it was drawn: the sweep is over a weight, and the models have `nll` and `kl`.
    """
    names = list(found["points"][0]["settings"])
    weights = [name for name in names if ".minimizes." in name]
    points = [p for p in found["points"] if _place(p) is not None]
    if not weights or len(points) < 2:
        return False
    others = [name for name in names if name not in weights]
    figure, axes = load_pyplot().subplots(figsize=(4.6, 3.4), layout="constrained")
    lines: dict[str, list[Any]] = {}
    for point in points:
        lines.setdefault(_text(point["settings"], others), []).append(point)
    for i, (label, line) in enumerate(sorted(lines.items())):
        colour = _COLOURS[i % len(_COLOURS)]
        line = sorted(line, key=lambda p: [p["settings"][name] for name in weights])
        places = np.array([_place(p) for p in line])
        axes.plot(*places.T, color=colour, lw=1.2, ms=4, marker="o", label=label or None)
        for point, place in zip(line, places, strict=True) if i == 0 else ():  # alike on all lines
            axes.annotate(
                _text(point["settings"], weights), place, xytext=(5, 5),
                textcoords="offset points", fontsize=6, color=INK,
            )  # fmt: skip
    places = np.array([_place(p) for p in points])
    _bound(axes, float(places.sum(axis=1).min()), places[:, 0])
    _finish(figure, axes, "Rate and distortion, means over seeds", path)
    return True


def _place(point: Mapping[str, Any]) -> list[float] | None:
    """Mean rate and distortion of a point of a sweep, where it has both."""
    figures = point["figures"]
    if not {"kl", "nll"} <= figures.keys():
        return None
    place = [figures["kl"]["mean"], figures["nll"]["mean"]]
    return None if None in place else place


def horizons(path: Path, errors: Mapping[str, Mapping[int, float]]) -> None:
    """Squared errors by how many steps ahead, a line for each way of getting there.

    Args:
      path: of the PNG.
      errors: label -> steps ahead -> error.
    """
    figure, axes = load_pyplot().subplots(figsize=(4.6, 3.0), layout="constrained")
    for colour, (label, line) in zip(_COLOURS, errors.items(), strict=False):
        places = sorted(line.items())
        axes.plot(*zip(*places, strict=True), color=colour, lw=1.3, ms=3.5, marker="o", label=label)
    steps = sorted({h for line in errors.values() for h in line})
    if steps[-1] >= 8 * steps[0]:
        axes.set_xscale("log")
    axes.set_xticks(steps, [str(h) for h in steps])
    axes.minorticks_off()
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("steps ahead", fontsize=8, color=MUTED)
    axes.set_ylabel("mean squared error of the expectation", fontsize=8, color=MUTED)
    axes.set_title("How far it sees", fontsize=9, color=INK, loc="left")
    axes.tick_params(labelsize=7, colors=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=150)
    load_pyplot().close(figure)

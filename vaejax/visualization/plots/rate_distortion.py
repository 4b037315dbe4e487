"""Rate-distortion curves, of one model and of a sweep, as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.visualization.plots.style import COLOURS, INK, LINES, MUTED, PALE, load_pyplot, save

__all__ = ["rate_distortion_curve", "rate_distortion_of_sweep"]


def _draw_bound(axes: Any, nats: float, rates: np.ndarray) -> None:
    """Draws the line on which rate and distortion sum to `nats`."""
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
    save(figure, path, dpi=150)
    load_pyplot().close(figure)


def rate_distortion_curve(
    path: Path, curve: np.ndarray, betas: Sequence[str], encoder: tuple[float, float]
) -> None:
    """The optimal rates and distortions for a decoder and a prior, and those of the encoder.

    Args:
      path: of the PNG.
      curve: rate and distortion, `[T, 2]`, from the smallest β to 1.
      betas: of these points, as text.
      encoder: rate and distortion of the model's encoder.
    """
    figure, axes = load_pyplot().subplots(figsize=(4.6, 3.4), layout="constrained")
    axes.plot(*curve.T, color=LINES["train"], lw=1.3, ms=3.5, marker="o", label="annealed, by β")
    for i in sorted({len(curve) // 4, len(curve) // 2, len(curve) - 1}):
        axes.annotate(
            f"β {betas[i]}", curve[i], xytext=(5, 5), textcoords="offset points",
            fontsize=7, color=INK, annotation_clip=True,
        )  # fmt: skip
    axes.plot(*encoder, color=LINES["eval"], marker="s", ms=5, lw=0, label="the model's encoder")
    # The ELBO is the sum of both: similar lengths of the axes show the relevant part.
    low, high = curve[:, 1].min(), curve[:, 1].max()
    axes.set_ylim(top=min(high, low + 3.0 * max(curve[-1, 0], encoder[0], encoder[1] - low)) + 1.0)
    _draw_bound(axes, float(curve[-1].sum()), np.array([*curve[len(curve) // 2 :, 0], encoder[0]]))
    _finish(figure, axes, "Rate and distortion for this decoder and prior", path)


def _text(settings: Mapping[str, float], names: Sequence[str]) -> str:
    return ", ".join(f"{name.split('.')[-1]} {settings[name]:g}" for name in names)


def rate_distortion_of_sweep(path: Path, results: Mapping[str, Any]) -> bool:
    """Rate and distortion of a sweep over loss weights: means over seeds, labelled by weight.

    Args:
      path: of the PNG.
      results: as from `sweeps.evaluate.results`.

    Returns:
      Whether it was drawn: the sweep is over a weight, and the models have `nll` and `kl`.
    """
    names = list(results["points"][0]["settings"])
    weights = [name for name in names if ".minimizes." in name]
    points = [p for p in results["points"] if _rate_and_distortion(p) is not None]
    if not weights or len(points) < 2:
        return False
    others = [name for name in names if name not in weights]
    figure, axes = load_pyplot().subplots(figsize=(4.6, 3.4), layout="constrained")
    lines: dict[str, list[Any]] = {}
    for point in points:
        lines.setdefault(_text(point["settings"], others), []).append(point)
    for i, (label, line) in enumerate(sorted(lines.items())):
        colour = COLOURS[i % len(COLOURS)]
        line = sorted(line, key=lambda p: [p["settings"][name] for name in weights])
        positions = np.array([_rate_and_distortion(p) for p in line])
        axes.plot(*positions.T, color=colour, lw=1.2, ms=4, marker="o", label=label or None)
        # Only one line: the labels of all lines are the same.
        for point, position in zip(line, positions, strict=True) if i == 0 else ():
            axes.annotate(
                _text(point["settings"], weights), position, xytext=(5, 5),
                textcoords="offset points", fontsize=6, color=INK,
            )  # fmt: skip
    positions = np.array([_rate_and_distortion(p) for p in points])
    _draw_bound(axes, float(positions.sum(axis=1).min()), positions[:, 0])
    _finish(figure, axes, "Rate and distortion, means over seeds", path)
    return True


def _rate_and_distortion(point: Mapping[str, Any]) -> list[float] | None:
    """Mean rate and distortion of a point of a sweep; None if it lacks one."""
    metrics = point["metrics"]
    if not {"kl", "nll"} <= metrics.keys():
        return None
    means = [metrics["kl"]["mean"], metrics["nll"]["mean"]]
    return None if None in means else means

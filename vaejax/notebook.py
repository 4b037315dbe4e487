"""What a notebook asks for: train a family here and now, judge it, and see its pictures.

The command's `run.run` does the same from a config, in a working directory that stays. Jupyter
shows a `Picture` where it is the value of a cell.
"""

import base64
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vaejax.core.game import Batch, Family, Latent, Params
from vaejax.core.sharding import make_mesh, on_one_device
from vaejax.data import Source
from vaejax.data.batches import eval_order
from vaejax.data.preprocess import preparation
from vaejax.evaluation.conditional import is_conditional
from vaejax.evaluation.evaluate import evaluator
from vaejax.training import Settings, Trainer, fit
from vaejax.training.train_step import eval_params
from vaejax.visualization.latent_space import one_vector
from vaejax.visualization.plots import grids_and_curves
from vaejax.visualization.report import draw, traverse

_SOME = 1000  # held-out examples that judge it on the way
_EXAMPLES = 512  # that tell which latents matter


class Picture(NamedTuple):
    """A PNG or GIF file that Jupyter shows."""

    path: Path

    def _repr_html_(self) -> str:
        kind = self.path.suffix[1:]
        data = base64.b64encode(self.path.read_bytes()).decode("ascii")
        source = f"data:image/{kind};base64,{data}"
        return f'<img alt="{self.path.stem}" style="max-width: 100%" src="{source}">'


class Trained(NamedTuple):
    """A family after training.

    Attributes:
      family: it.
      params: those that evaluations use, on one device.
      held_out: the data that it was judged on.
      step: how many were taken.
      figures: of `held_out`, as from `evaluation.evaluate.evaluator`.
      metrics: the file of what was logged.
      binarize: as in training.
    """

    family: Family
    params: Params
    held_out: Source
    step: int
    figures: dict[str, float]
    metrics: Path
    binarize: str


def train(
    family: Family,
    source: Source,
    held_out: Source,
    settings: Settings,
    *,
    seed: int = 0,
    binarize: str = "none",
) -> Trained:
    """Trains a family on all devices, shows progress, and judges it on held-out data.

    Nothing is resumed: what is logged goes to a new temporary directory.

    Args:
      family: what to train.
      source: the data to train on.
      held_out: the data to judge it by.
      settings: how to train.
      seed: of everything.
      binarize: see `data.preparation.preparation`.

    Raises:
      ValueError: the table of players does not fit, or the batch not the devices.
      NotFiniteError: as from `fit`.
    """
    mesh, workdir = make_mesh(), Path(tempfile.mkdtemp(prefix="vaejax-"))
    trainer = Trainer(family, source, settings, seed=seed, binarize=binarize, mesh=mesh)
    judge = evaluator(
        family, held_out, mesh, batch_size=settings.batch_size, seed=seed, binarize=binarize
    )
    state = fit(
        trainer, settings, workdir=workdir, evaluate=lambda params, step: judge(params, step, _SOME)
    ).state
    params, step = eval_params(state), int(state.step)
    figures, metrics = judge(params, step), workdir / "metrics.jsonl"
    here = on_one_device(mesh, params)
    return Trained(family, here, held_out, step, figures, metrics, binarize)


def compare(runs: Mapping[str, Trained], names: Sequence[str]) -> str:
    """A readable table: a row a figure, a column a run; "–" where a run has none of a name."""
    columns = [["", *names]]
    for title, run in runs.items():
        cells = [f"{run.figures[n]:.4g}" if n in run.figures else "–" for n in names]
        columns.append([title, *cells])
    widths = [max(map(len, column)) for column in columns]
    rows = []
    for first, *rest in zip(*columns, strict=True):
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        rows.append("  ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(rows)


def pictures(into: Callable[[Path], Any]) -> dict[str, Picture]:
    """The PNG and GIF files that `into` writes into an empty folder, by their names."""
    folder = Path(tempfile.mkdtemp(prefix="vaejax-"))
    into(folder)
    kinds = (".png", ".gif")
    return {p.name: Picture(p) for p in sorted(folder.iterdir()) if p.suffix in kinds}


def all_pictures(trained: Trained, *, seed: int = 0, count: int = 64) -> dict[str, Picture]:
    """What a run of the command leaves in `figures/`, by the names of the files.

    Args:
      trained: what to show.
      seed: of all draws.
      count: samples.
    """
    return pictures(
        lambda folder: draw(
            trained.family,
            trained.params,
            trained.held_out,
            folder,
            binarize=trained.binarize,
            seed=seed,
            metrics=trained.metrics,
            count=count,
        )
    )


def show(plot: Callable[..., Any], *args: Any, **options: Any) -> Picture:
    """The picture that a function of a path draws: `show(plots.traversals, images, labels)`."""
    path = Path(tempfile.mkdtemp(prefix="vaejax-")) / f"{plot.__name__}.png"
    plot(path, *args, **options)
    return Picture(path)


def traversals(trained: Trained, *, rows: int = 10, seed: int = 0) -> Picture:
    """What each latent does, see `evaluation.pictures.traverse`; of a model with one vector.

    Args:
      trained: what to show.
      rows: latents at most.
      seed: of binarised images.

    Raises:
      ValueError: its latents are not one vector.
    """
    family, source = trained.family, trained.held_out
    prepare, key = preparation(source, trained.binarize), jax.random.key(seed)
    some = source.take(np.sort(eval_order(source.size)[:_EXAMPLES]))
    batch = jax.jit(prepare)(some, key)

    def encode(params: Params, batch: Batch) -> tuple[Latent, ...]:
        return family.model.encode(params, batch, None)

    if one_vector(nodes := jax.eval_shape(encode, trained.params, batch)) is None:
        shapes = [node.z.shape[1:] for node in nodes]
        raise ValueError(f"traversals are of one Gaussian vector, found latents of shape {shapes}")
    (node,) = jax.jit(encode)(trained.params, batch)
    given = batch if is_conditional(family, trained.params, source) else None
    images, labels = traverse(family, trained.params, node, rows, given=given)
    return show(grids_and_curves.traversals, np.asarray(images), labels)

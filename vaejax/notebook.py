"""Train a family in a notebook, evaluate it, and show its figures.

`experiment.run` does the same from a config, in a permanent working directory. Jupyter shows a
`Figure` that is the value of a cell.
"""

import base64
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from vaejax.core.game import Batch, Family, Latent, Params
from vaejax.core.sharding import make_mesh, on_one_device
from vaejax.data import Source
from vaejax.data.batches import eval_order
from vaejax.data.preprocess import preparation
from vaejax.evaluation import EvaluationContext, evaluator, is_conditional, traverse, vector_node
from vaejax.training import Settings, Trainer, eval_params, fit
from vaejax.visualization import draw_figures, plots

__all__ = ["Figure", "Trained", "all_figures", "compare", "figures", "show", "train", "traversals"]

_EVAL_EXAMPLES = 1000  # held-out examples of the evaluations during training
_TRAVERSAL_EXAMPLES = 512  # from which the order and the ranges of the latents are computed


class Figure(NamedTuple):
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
      family: the family.
      params: the parameters that evaluations use, on one device.
      held_out: the data that it was evaluated on.
      step: number of training steps.
      metrics: of `held_out`, as from `evaluation.evaluator`.
      records: the file of the logged metrics.
      binarize: as in training.
    """

    family: Family
    params: Params
    held_out: Source
    step: int
    metrics: dict[str, float]
    records: Path
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
    """Trains a family on all devices, shows progress, and evaluates it on held-out data.

    Metrics are logged to a new temporary directory; training is never resumed.

    Args:
      family: what to train.
      source: the data to train on.
      held_out: the data to evaluate on.
      settings: of the training.
      seed: of all random numbers.
      binarize: see `data.preprocess.preparation`.

    Raises:
      ValueError: the table of players does not fit, or the batch not the devices.
      NotFiniteError: as from `fit`.
    """
    mesh, workdir = make_mesh(), Path(tempfile.mkdtemp(prefix="vaejax-"))
    trainer = Trainer(family, source, settings, seed=seed, binarize=binarize, mesh=mesh)
    evaluate = evaluator(
        family, held_out, mesh, batch_size=settings.batch_size, seed=seed, binarize=binarize
    )
    state = fit(
        trainer,
        settings,
        workdir=workdir,
        evaluate=lambda params, step: evaluate(params, step, _EVAL_EXAMPLES),
    ).state
    params, step = eval_params(state), int(state.step)
    metrics, records = evaluate(params, step), workdir / "metrics.jsonl"
    local = on_one_device(mesh, params)
    return Trained(family, local, held_out, step, metrics, records, binarize)


def compare(runs: Mapping[str, Trained], names: Sequence[str]) -> str:
    """A table with one row per metric and one column per run; "–" where a run lacks a metric."""
    columns = [["", *names]]
    for title, run in runs.items():
        cells = [f"{run.metrics[n]:.4g}" if n in run.metrics else "–" for n in names]
        columns.append([title, *cells])
    widths = [max(map(len, column)) for column in columns]
    rows = []
    for first, *rest in zip(*columns, strict=True):
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        rows.append("  ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(rows)


def figures(draw: Callable[[Path], object]) -> dict[str, Figure]:
    """The PNG and GIF files that `draw` writes into an empty folder, by name."""
    folder = Path(tempfile.mkdtemp(prefix="vaejax-"))
    draw(folder)
    kinds = (".png", ".gif")
    return {p.name: Figure(p) for p in sorted(folder.iterdir()) if p.suffix in kinds}


def all_figures(trained: Trained, *, seed: int = 0, count: int = 64) -> dict[str, Figure]:
    """The figures that a run of the command writes to `figures/`, by file name.

    Args:
      trained: the model.
      seed: of all samples.
      count: number of samples.
    """
    return figures(
        lambda folder: draw_figures(
            EvaluationContext(
                trained.family,
                trained.params,
                trained.held_out,
                step=trained.step,
                seed=seed,
                binarize=trained.binarize,
            ),
            folder,
            records=trained.records,
            count=count,
        )
    )


def show(plot: Callable[..., object], *args: object, **options: object) -> Figure:
    """The figure of a function that draws to a path: `show(plots.traversals, images, labels)`."""
    path = Path(tempfile.mkdtemp(prefix="vaejax-")) / f"{plot.__name__}.png"
    plot(path, *args, **options)
    return Figure(path)


def traversals(trained: Trained, *, rows: int = 10, seed: int = 0) -> Figure:
    """Latent traversals, see `evaluation.traverse`, of a model whose latents are one vector.

    Args:
      trained: the model.
      rows: latents at most.
      seed: of binarised images.

    Raises:
      ValueError: its latents are not one continuous vector.
    """
    family, source = trained.family, trained.held_out
    prepare, key = preparation(source, trained.binarize), jax.random.key(seed)
    examples = source.take(np.sort(eval_order(source.size)[:_TRAVERSAL_EXAMPLES]))
    batch = jax.jit(prepare)(examples, key)

    def encode(params: Params, batch: Batch) -> tuple[Latent, ...]:
        return family.model.encode(params, batch, None)

    if vector_node(nodes := jax.eval_shape(encode, trained.params, batch)) is None:
        shapes = [node.z.shape[1:] for node in nodes]
        raise ValueError(
            f"traversals need one continuous vector of latents, found latents of shape {shapes}"
        )
    (node,) = jax.jit(encode)(trained.params, batch)
    conditions = batch if is_conditional(family, source) else None
    images, labels = traverse(family, trained.params, node, rows, conditions=conditions)
    return show(plots.traversals, np.asarray(images), labels)

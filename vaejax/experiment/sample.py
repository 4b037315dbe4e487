"""Samples of a trained run, as files and figures."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from vaejax.core.files import make_folder
from vaejax.data.columns import Column
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.sampled_events import sampled_events
from vaejax.experiment.encode import save_arrays
from vaejax.experiment.experiment import Experiment
from vaejax.experiment.table_files import named_columns, write_csv, write_parquet
from vaejax.training.train_step import TrainState
from vaejax.visualization.event_renderers import event_renderer
from vaejax.visualization.learned_prior import draw_prior_samples
from vaejax.visualization.sequence_prediction import draw_predictions

__all__ = ["sample"]


def sample(experiment: Experiment, state: TrainState, folder: Path) -> None:
    """`samples.npz`, for tables also `samples.csv` and `samples.parquet`, and figures.

    Args:
      experiment: the run, or the second stage of one.
      state: of its training.
      folder: for the files.
    """
    context = experiment.context(state)
    _ = context.local_params  # on every process
    if jax.process_index() > 0:
        return
    arrays = sampled_events(context, **experiment.sampling)
    make_folder(folder)
    save_arrays(folder / "samples.npz", arrays)
    if "vector" in arrays:
        _write_tables(folder, arrays, context.source.columns)
    files = [folder / f"samples{suffix}" for suffix in (".npz", ".csv", ".parquet")]
    print(f"Samples: {', '.join(str(file) for file in files if file.exists())}")
    if figure := _draw(experiment, context, arrays, folder / "figures"):
        print(f"Figure: {figure}")


def _write_tables(
    folder: Path, arrays: dict[str, np.ndarray], table: Sequence[Column] | None
) -> None:
    names = arrays.get("column_names")
    columns = named_columns(arrays["vector"], None if names is None else names.tolist(), table)
    if "label" in arrays and "label" not in columns:
        classes = arrays.get("class_names")
        columns["label"] = arrays["label"] if classes is None else classes[arrays["label"]]
    write_csv(folder / "samples.csv", columns)
    try:
        write_parquet(folder / "samples.parquet", columns)
    except ImportError as error:
        (folder / "samples.parquet").unlink(missing_ok=True)  # of other samples
        print(f"samples.parquet is left out: {error}")


def _draw(
    experiment: Experiment,
    context: EvaluationContext,
    arrays: dict[str, np.ndarray],
    folder: Path,
) -> Path | None:
    """A figure of the samples; None for events that have none."""
    sampling = experiment.sampling
    renderer = event_renderer(context.source)
    if renderer is None:
        return None
    make_folder(folder)
    if context.family.model.sequences:
        return draw_predictions(context, folder, temperature=sampling["temperature"])
    path = folder / f"samples{renderer.suffix}"
    if experiment.first:
        draw_prior_samples(experiment.first, context, folder, **sampling)
        return path if path.exists() else None
    renderer.samples(path, next(iter(arrays.values())), "Samples from the prior")
    return path

"""What the modes besides training and evaluation write: latents, exported programs."""

import jax
import numpy as np

import vaejax
from vaejax.core.events import EVENTS
from vaejax.core.files import make_folder, write_bytes, write_json
from vaejax.core.sharding import on_one_device
from vaejax.data.values import fields_of
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.model_shapes import is_conditional
from vaejax.experiment.encode import encode_splits, save_arrays
from vaejax.experiment.experiment import Experiment, Trained
from vaejax.experiment.model_card import FILE as MODEL_CARD
from vaejax.export.hub import Repository, push
from vaejax.export.model_files import export as export_programs
from vaejax.export.program import Program
from vaejax.export.safetensors import save_params
from vaejax.export.sampler import sampler_program
from vaejax.training.train_step import TrainState, eval_params

__all__ = ["encode", "export"]


def encode(experiment: Experiment, state: TrainState) -> None:
    """The file `latents.npz` of a split, see `experiment.encode`."""
    arrays = encode_splits(experiment, state)
    if jax.process_index() == 0:
        path = experiment.folder / "latents.npz"
        make_folder(path.parent)
        save_arrays(path, arrays)
        print(f"Latents: {path}, with {', '.join(sorted(arrays))}")


def export(
    experiment: Experiment,
    state: TrainState,
    second: Trained | None = None,
    repository: Repository | None = None,
) -> None:
    """The folder `export/`, which is also uploaded if a repository is named.

    Args:
      experiment: the run.
      state: of its training.
      second: its second stage, whose parameters are exported too.
      repository: of the Hub; None for none.

    Raises:
      HubError: the upload failed; the folder is complete.
    """
    config, folder = experiment.config, experiment.folder / "export"
    params = on_one_device(experiment.mesh, eval_params(state))
    context = second.experiment.context(second.state) if second else None
    both = context.local_params if context else {}  # on every process
    if jax.process_index() > 0:
        return
    export_programs(
        experiment.family,
        params,
        experiment.source,
        folder,
        binarize=config["data"]["binarize"],
        sampler=_sampler(context) if context else None,
        family=config["family"],
        step=int(state.step),
    )
    if second:
        of_prior = {"family": second.experiment.config["family"], "step": int(second.state.step)}
        save_params(folder / "second_stage.safetensors", both["second"], **of_prior)
    write_json(folder / "config.json", {**config, "version": vaejax.__version__})
    card = experiment.workdir / MODEL_CARD
    if card.exists():  # of the last evaluation
        write_bytes(folder / "README.md", card.read_bytes())
    print(f"Export: {folder}", flush=True)
    if repository:
        print(f"Hub: {push(folder, repository)}")


def _sampler(context: EvaluationContext) -> Program:
    """The program that samples from both stages, given the class if the prior is conditional."""
    family, source = context.family, context.source
    label = {"label": jax.ShapeDtypeStruct((), np.int32)} if is_conditional(family, source) else {}
    event = next(name for name in EVENTS if name in fields_of(source))
    return sampler_program(family, context.local_params, event, label)

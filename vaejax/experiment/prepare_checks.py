"""What is checked of a run before its data are loaded, and of its data before it is trained."""

from pathlib import Path

from vaejax.core.game import Family, Params
from vaejax.core.types import Options
from vaejax.data import Source
from vaejax.experiment.build import augmentation
from vaejax.experiment.check_config import import_and_check
from vaejax.experiment.check_data import check_augmented, check_support
from vaejax.experiment.check_effect import check_condition_dropout
from vaejax.experiment.target import Target
from vaejax.experiment.workdir import Config, check_is_ours, config_of_its_time
from vaejax.export.model_files import check_run
from vaejax.sweeps.grid import is_sweep
from vaejax.training.lock import check_unlocked
from vaejax.training.trackers import check_trackers

__all__ = ["check_training_data", "checked_config", "checked_in_workdir"]


def checked_config(config: Options, workdir: Path, mode: str, target: Target) -> Config:
    """The config of a run, after the checks that need no data."""
    import_and_check(config)
    if is_sweep(config):
        raise ValueError("the config describes a sweep: use vaejax.experiment.run_sweep.run_sweep")
    target.check(mode, workdir)
    config = checked_in_workdir({k: v for k, v in config.items() if k != "sweep"}, workdir, mode)
    if mode == "export":
        check_run(config)
    return config


def checked_in_workdir(config: Config, workdir: Path, mode: str) -> Config:
    """The config as the version that wrote the workdir understood it, after checks of both."""
    check_is_ours(workdir)
    config = config_of_its_time(workdir, config)
    if mode == "train":
        check_unlocked(workdir)
        check_trackers(config.get("log", {}).get("to", ""))
    return config


def check_training_data(
    config: Config, params: Params, family: Family, splits: list[Source]
) -> None:
    """Checks the data of a run without a first stage, its training split first."""
    binarize, dropout = config["data"]["binarize"], config["data"]["condition_dropout"]
    check_support(family, params, splits, binarize)
    check_augmented(augmentation(config), family, params, splits[0], binarize)
    check_condition_dropout(dropout, family, params, splits[0])

"""Configs of runs that an earlier version wrote: their fields by today's names, and all of them.

A field that did not exist yet gets the value that describes how the version at that time behaved,
which need not be today's default.
"""

from collections.abc import Callable, Mapping

from vaejax.core.types import Options, Setting
from vaejax.training.renamed_fields import new_name

__all__ = ["ABSENT", "completed", "of_its_time"]

# Field -> its value in a run whose config.json lacks it. A new field of
# `config_defaults.defaults` gets a row: tests/experiment/earlier_versions_test.py holds that.
ABSENT: dict[str, Setting] = {
    "seed": 0,
    "imports": (),
    "init_from": "",
    "init_groups": "",
    "freeze_groups": "",
    "data.image_size": 0,
    "data.channels": 0,
    "data.sample_rate": 0,
    "data.length": 0,
    "data.holdout": 0.1,
    "data.binarize": "none",
    "data.observed_quadrants": 0,
    "data.condition_dropout": 0.0,
    "data.labels": 0,
    "data.labelled_per_batch": 0,
    "data.missing": "refuse",
    "data.standardize": False,
    "data.validation": "none",
    "data.max_bytes": 2**35,
    "data.label": "",
    "data.condition": "",
    "data.categories": "",
    "data.drop": "",
    "data.layer": "",
    "data.strict": False,
    "data.max_resident_bytes": 2**30,
    "data.workers": -1,
    "data.background": "black",
    "data.augment.flip": "none",
    "data.augment.crop": 1.0,
    "data.augment.shift": 0,
    "data.augment.brightness": 0.0,
    "data.augment.noise": 0.0,
    "train.steps": 3000,
    "train.batch_size": 128,
    "train.steps_per_dispatch": 20,
    "train.log_every": 100,
    "train.checkpoint_every": 1000,
    "train.keep_last": 2,
    "train.keep_best": 1,
    "train.best_metric": "elbo",
    "train.best_direction": "auto",
    "train.patience": 0,
    "train.ema_decay": 0.0,
    "train.grad_accumulation_steps": 1,
    "train.max_consecutive_nonfinite": 20,
    "train.eval_examples": 2000,
    "mesh.data": -1,
    "mesh.fsdp": 1,
    "mesh.tensor": 1,
    "mesh.rules": "",
    "evaluate.figures": True,
    "evaluate.metrics": "",
    "evaluate.importance_samples": 0,
    "evaluate.examples": 0,
    "evaluate.disentanglement": False,
    "evaluate.mutual_information_samples": 0,
    "evaluate.num_generated": 0,
    "evaluate.feature_extractor": "",
    "evaluate.annealing.temperatures": 0,
    "evaluate.annealing.chains": 16,
    "evaluate.annealing.leapfrog": 10,
    "evaluate.annealing.step_size": 0.1,
    "evaluate.annealing.examples": 100,
    "log.to": "tensorboard",
    "log.project": "vaejax",
    "log.name": "",
    "sample.count": 64,
    "sample.temperature": 1.0,
}
# Of sweeps alone, whose config has a section `sweep`.
_OF_SWEEPS: dict[str, Setting] = {
    "sweep.grid": "",
    "sweep.seeds": 1,
    "sweep.chunk": 0,
    "sweep.metrics": "",
}


def _renamed(config: Options, section: str = "") -> dict[str, Setting]:
    """The config with former names of fields replaced by today's."""
    result: dict[str, Setting] = {}
    for name, value in config.items():
        new = new_name(section, name)
        name = new.rpartition(".")[2] if new else name
        path = f"{section}.{name}" if section else name
        result[name] = _renamed(value, path) if isinstance(value, Mapping) else value
        if (name, value) == ("merge", "alone"):
            result[name] = "posterior_only"
    return result


def _set(config: dict[str, Setting], path: str, value: Setting, *, replace: bool) -> None:
    *sections, name = path.split(".")
    for part in sections:
        config[part] = dict(config.get(part, {}))
        config = config[part]
    if replace or name not in config:
        config[name] = value


def of_its_time(
    config: Options, stored: Options, free: Callable[[str], bool]
) -> dict[str, Setting]:
    """A config with the values of a stored one's time, for the fields which that one lacks.

    Args:
      config: with all fields of today.
      stored: the content of `config.json`.
      free: whether a field may differ between starts; then the given value holds.
    """
    result, complete = dict(config), completed(stored)
    for path in ABSENT:
        if free(path) or _has(_renamed(stored), path):
            continue
        value: Setting = complete
        for part in path.split("."):
            value = value[part]
        _set(result, path, value, replace=True)
    return result


def _has(config: Setting, path: str) -> bool:
    for part in path.split("."):
        if not isinstance(config, Mapping) or part not in config:
            return False
        config = config[part]
    return True


def completed(config: Options) -> dict[str, Setting]:
    """The stored config of a run, of this version or an earlier one, with every field.

    Args:
      config: the content of `config.json`.
    """
    result = _renamed(config)
    for path, value in (ABSENT | (_OF_SWEEPS if "sweep" in result else {})).items():
        _set(result, path, value, replace=False)
    if result.get("first_stage"):
        result.setdefault("first_stage_step", 0)
    return result

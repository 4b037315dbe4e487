"""The fields that every config has, with their defaults; `configs/` fills in the rest."""

import dataclasses
from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from vaejax.core.registry import near_names
from vaejax.evaluation.options import EvaluateOptions
from vaejax.training import Settings

__all__ = ["Setting", "choose", "config_function", "defaults"]

Setting = Callable[[ConfigDict], None]


def defaults(family: str) -> ConfigDict:
    """A config of a family before its networks, losses and data are chosen."""
    config = ConfigDict()
    config.seed = 0
    config.family = family
    config.imports = ()  # modules and .py files that register families, networks, data, ...
    data = config.data = ConfigDict()
    data.source = "sprites:small"  # sprites, tfds:NAME, folder:PATH, npz:PATH, see docs
    data.image_size = 0  # resize and crop images to this many pixels; 0: as stored
    data.channels = 0  # convert images to 1 or 3 channels; 0: as stored
    data.holdout = 0.1  # fraction to evaluate on, if the data has no splits of its own
    data.background = "white"  # behind transparent pixels of image files; or black
    data.strict = False  # refuse folders with files that cannot be read, rather than skip these
    # Models of tables and signals see each column or channel with mean 0 and deviation 1 over the
    # training split, if their likelihood is one of real numbers; results are in the data's units.
    data.standardize = True
    data.binarize = "none"  # none, threshold, dynamic
    data.observed_quadrants = 0  # quadrants of an image that condition the model; 0: off
    data.condition_dropout = 0.0  # fraction of training examples that lose their condition
    config.model = ConfigDict()
    config.players = ConfigDict()
    config.train = ConfigDict(dataclasses.asdict(Settings()))
    config.train.eval_examples = 2000  # at checkpoints; the final evaluation takes all
    config.mesh = ConfigDict({"data": -1, "fsdp": 1})  # devices; -1: all remaining
    config.evaluate = ConfigDict(dataclasses.asdict(EvaluateOptions()))
    config.evaluate.figures = True  # draw them after an evaluation
    config.sample = ConfigDict({"count": 64, "temperature": 1.0})
    sweep = config.sweep = ConfigDict()
    # Every combination of values of fields of `model` and `players` becomes a model, as in
    # "players.vae.minimizes.kl=1,4; model.likelihood.scale=0.1,1".
    sweep.grid = ""
    sweep.seeds = 1  # models per combination, with seeds from `seed` on
    sweep.chunk = 0  # models at once on a device; 0: all, or one if it is large and on a CPU
    sweep.index = -1  # a model of a trained sweep to make a run of its own
    sweep.metrics = ""  # of the table and the figure, as in "elbo,mse"; empty: the usual ones
    return config


def choose(settings: Mapping[str, Setting], name: str, file: str) -> Setting:
    """The setting of a config file with a name.

    Args:
      settings: of the file, by name.
      name: the part of `--config=FILE.py:NAME` behind the colon.
      file: for the error.

    Raises:
      ValueError: there is no such setting.
    """
    if name not in settings:
        raise ValueError(f"{file} has no setting {near_names(name, settings)}")
    return settings[name]


def config_function(
    file: str, settings: Mapping[str, Setting], family: str = ""
) -> Callable[..., ConfigDict]:
    """The function `get_config` of a config file.

    Args:
      file: its name without `.py`.
      settings: name -> a function that changes the default config in place; the first is the
        default setting.
      family: of the default config; by default the name of the file.

    Returns:
      `setting -> config`. It raises ValueError for an unknown setting.
    """
    default = next(iter(settings))

    def get_config(setting: str = default) -> ConfigDict:
        """The config of a setting."""
        config = defaults(family or file)
        choose(settings, setting, f"configs/{file}.py")(config)
        return config

    return get_config

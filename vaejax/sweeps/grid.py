"""The models of a sweep: a grid of values for config fields, and seeds."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vaejax.core.registry import near_names
from vaejax.core.types import Options, Setting

__all__ = [
    "Grid",
    "check",
    "config_of_model",
    "grid_of",
    "is_sweep",
    "parse",
    "product",
    "substitute",
]

Config = Options
_SWEEPABLE = ("model", "players")  # what a family is built from; the models share everything else


class Grid(NamedTuple):
    """The N models of a sweep, in order; the seeds change fastest.

    Attributes:
      settings: field name -> its value in each model, float64 `[N]`.
      seeds: of each model, int32 `[N]`.
    """

    settings: Mapping[str, np.ndarray]
    seeds: np.ndarray

    @property
    def size(self) -> int:
        """N."""
        return len(self.seeds)

    def of(self, model: int) -> dict[str, float]:
        """The settings of model number `model`."""
        return {name: float(values[model]) for name, values in self.settings.items()}

    def points(self) -> list[tuple[dict[str, float], list[int]]]:
        """Each point of the grid: its settings and its models, one per seed."""
        groups: dict[tuple[float, ...], list[int]] = {}
        for i in range(self.size):
            groups.setdefault(tuple(self.of(i).values()), []).append(i)
        return [(self.of(models[0]), models) for models in groups.values()]


def product(over: Mapping[str, Sequence[float]], seeds: Sequence[int]) -> Grid:
    """All combinations of the values of every name, each with every seed.

    Raises:
      ValueError: a value or seed is repeated or not finite, or a seed is not in [0, 2³¹).
    """
    for name, values in {**over, "seed": seeds}.items():
        if not values or len(set(values)) < len(values) or not all(map(math.isfinite, values)):
            raise ValueError(
                f"a sweep over {name} needs distinct finite numbers, found {list(values)}"
            )
    if not all(0 <= seed < 2**31 for seed in seeds):
        raise ValueError(f"the seeds of a sweep must be in [0, 2³¹), found {list(seeds)}")
    rows = list(itertools.product(*over.values(), seeds))
    columns = list(zip(*rows, strict=True))
    settings = {
        name: np.asarray(column, np.float64)
        for name, column in zip(over, columns[:-1], strict=True)
    }
    return Grid(settings, np.asarray(columns[-1], np.int32))


def parse(text: str) -> dict[str, tuple[float, ...]]:
    """Values by name of `"players.vae.minimizes.kl=1,4; model.likelihood.scale=0.1,1"`.

    Raises:
      ValueError: the text is not of this form.
    """
    over: dict[str, tuple[float, ...]] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, equals, values = part.partition("=")
        name = name.strip()
        try:
            numbers = tuple(float(value) for value in values.split(","))
        except ValueError:
            numbers = ()
        if not (name and equals and numbers) or name in over:
            raise ValueError(
                f"sweep.grid={text!r}: {part!r} is not of the form NAME=NUMBER,NUMBER,..., with ; "
                "between different names; for example "
                "players.vae.minimizes.kl=1,4; players.vae.learning_rate=1e-3,3e-4"
            )
        over[name] = numbers
    return over


def _field(config: Config, name: str) -> object:
    """The value of a field, given by its path `part.part`.

    Raises:
      ValueError: there is no such field.
    """
    value: Setting = config
    path = ""
    for part in name.split("."):
        fields = value if isinstance(value, Mapping) else {}
        if part not in fields:
            parent = path.rstrip(".") or "the config"
            raise ValueError(
                f"cannot sweep over {name}: {parent} has no {near_names(part, fields)}"
            )
        value, path = value[part], f"{path}{part}."
    return value


def check(config: Config, over: Mapping[str, Sequence[float]]) -> None:
    """Raises ValueError unless every name is a numeric field that the models need not share."""
    for name in over:
        value = _field(config, name)
        if isinstance(value, Mapping):
            raise ValueError(
                f"cannot sweep over {name}, which has fields: {', '.join(sorted(value))}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"cannot sweep over {name}={value!r}, which is not one number")
        if name == "seed":
            raise ValueError(
                "a sweep uses the seeds seed, seed + 1, ...: set their number in sweep.seeds"
            )
        if name.split(".")[0] not in _SWEEPABLE:
            raise ValueError(
                f"cannot sweep over {name}: the models of a sweep share data and training "
                f"settings, and differ in fields of {' and '.join(_SWEEPABLE)} and in their seeds"
            )


def substitute(config: Config, values: Options) -> dict[str, Setting]:
    """The config with new values, maybe traced, in the named fields.

    An integer value of an integer field stays an int.
    """
    new = dict(config)
    for name, value in values.items():
        first, _, rest = name.partition(".")
        if rest:
            new[first] = substitute(new[first], {rest: value})
        else:
            is_int = (
                isinstance(new.get(first), int) and isinstance(value, float) and value.is_integer()
            )
            new[first] = int(value) if is_int else value
    return new


def grid_of(config: Config) -> Grid:
    """The grid of `config.sweep`.

    Raises:
      ValueError: an invalid number of seeds, or a field that cannot be swept.
    """
    sweep, seed = config["sweep"], config["seed"]
    if sweep["seeds"] < 1:
        raise ValueError(f"sweep.seeds must be at least 1, found {sweep['seeds']}")
    over = parse(sweep["grid"])
    check(config, over)
    return product(over, range(seed, seed + sweep["seeds"]))


def is_sweep(config: Config) -> bool:
    """Whether a config describes a sweep."""
    sweep = config.get("sweep") or {"grid": "", "seeds": 1, "index": -1}
    return bool(sweep["grid"].strip()) or sweep["seeds"] != 1 or sweep["index"] >= 0


def config_of_model(config: Config, grid: Grid, model: int) -> dict[str, Setting]:
    """The config of one model of a sweep as a run of its own.

    Raises:
      ValueError: no such model.
    """
    if not 0 <= model < grid.size:
        raise ValueError(f"sweep.index={model}: the sweep has the models 0 to {grid.size - 1}")
    single = {k: v for k, v in config.items() if k != "sweep"}
    return substitute(single, {**grid.of(model), "seed": int(grid.seeds[model])})

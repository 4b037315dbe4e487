"""Which models make up a sweep: lists of values for fields of a config, and seeds."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vaejax.core.registry import near_names

Config = Mapping[str, Any]
SWEPT = ("model", "players")  # what a family is built from; all else the models share


class Grid(NamedTuple):
    """The models of a sweep, in order; the seeds change fastest.

    Attributes:
      settings: name -> its value in each model, float64 `[N]`.
      seeds: of each model, int32 `[N]`.
    """

    settings: Mapping[str, np.ndarray]
    seeds: np.ndarray

    @property
    def size(self) -> int:
        return len(self.seeds)

    def of(self, model: int) -> dict[str, float]:
        """The settings of a model."""
        return {name: float(values[model]) for name, values in self.settings.items()}

    def points(self) -> list[tuple[dict[str, float], list[int]]]:
        """Every choice of settings, and the models that share it: one of each seed."""
        groups: dict[tuple[float, ...], list[int]] = {}
        for i in range(self.size):
            groups.setdefault(tuple(self.of(i).values()), []).append(i)
        return [(self.of(models[0]), models) for models in groups.values()]


def product(over: Mapping[str, Sequence[float]], seeds: Sequence[int]) -> Grid:
    """All combinations of the values of every name, each with every seed.

    Raises:
      ValueError: a value or seed occurs twice or is no finite number, or a seed is not in [0, 2³¹).
    """
    for name, values in {**over, "seed": seeds}.items():
        if not values or len(set(values)) < len(values) or not all(map(math.isfinite, values)):
            raise ValueError(f"a sweep over {name} wants different numbers, found {list(values)}")
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
    """`"players.vae.minimizes.kl=1,4; model.likelihood.scale=0.1,1"` -> values by name.

    Raises:
      ValueError: it is not of this form.
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
                f"sweep.over={text!r}: {part!r} is not of the form NAME=NUMBER,NUMBER,..., with ; "
                "between names and each name once; an example: "
                "players.vae.minimizes.kl=1,4; players.vae.learning_rate=1e-3,3e-4"
            )
        over[name] = numbers
    return over


def _field(config: Config, name: str) -> Any:
    """The value of a field.

    Raises:
      ValueError: there is none of this name.
    """
    here: Any = config
    path = ""
    for part in name.split("."):
        known = here if isinstance(here, Mapping) else {}
        if part not in known:
            where = path.rstrip(".") or "the config"
            raise ValueError(f"cannot sweep over {name}: {where} has no {near_names(part, known)}")
        here, path = here[part], f"{path}{part}."
    return here


def check(config: Config, over: Mapping[str, Sequence[float]]) -> None:
    """Raises ValueError unless every name is a number that belongs to one model alone."""
    for name in over:
        value = _field(config, name)
        if isinstance(value, Mapping):
            raise ValueError(
                f"cannot sweep over {name}, which has parts: {', '.join(sorted(value))}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"cannot sweep over {name}={value!r}, which is not one number")
        if name == "seed":
            raise ValueError(
                "a sweep takes the seeds seed, seed + 1, ...: say how many in sweep.seeds"
            )
        if name.split(".")[0] not in SWEPT:
            raise ValueError(
                f"cannot sweep over {name}: the models of a sweep share data and training, and "
                f"differ in fields of {' and '.join(SWEPT)} and in their seeds"
            )


def replaced(config: Config, values: Mapping[str, Any]) -> dict[str, Any]:
    """The config with other values in some of its fields; these may be traced.

    A whole number in the place of one stays one.
    """
    new = dict(config)
    for name, value in values.items():
        first, _, rest = name.partition(".")
        if rest:
            new[first] = replaced(new[first], {rest: value})
        else:
            whole = (
                isinstance(new.get(first), int) and isinstance(value, float) and value.is_integer()
            )
            new[first] = int(value) if whole else value
    return new


def grid_of(config: Config) -> Grid:
    """The grid that `config.sweep` asks for.

    Raises:
      ValueError: it cannot be.
    """
    sweep, seed = config["sweep"], config["seed"]
    if sweep["seeds"] < 1:
        raise ValueError(f"sweep.seeds must be at least 1, found {sweep['seeds']}")
    over = parse(sweep["over"])
    check(config, over)
    return product(over, range(seed, seed + sweep["seeds"]))


def sweeps(config: Config) -> bool:
    """Whether a config asks for several models."""
    sweep = config.get("sweep") or {"over": "", "seeds": 1, "model": -1}
    return bool(sweep["over"].strip()) or sweep["seeds"] != 1 or sweep["model"] >= 0


def alone(config: Config, grid: Grid, model: int) -> dict[str, Any]:
    """The config of one model of a sweep as a run of its own.

    Raises:
      ValueError: there is no such model.
    """
    if not 0 <= model < grid.size:
        raise ValueError(f"sweep.model={model}: the sweep has the models 0 to {grid.size - 1}")
    own = {k: v for k, v in config.items() if k != "sweep"}
    return replaced(own, {**grid.of(model), "seed": int(grid.seeds[model])})

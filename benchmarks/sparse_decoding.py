"""Recovery of the support of sparse decoding in the simulation of 2110.10804.

  python -m benchmarks.sparse_decoding [--seeds 5]

The data are 1,000 examples of seven columns, x = (z1, 2 z1, 3 z1², 4 z2, 5 z2, 6 sin z2, 7 z1 z2),
with noise of standard deviation 0.5: columns 1–3 depend on one factor, 4–6 on another, 7 on both.
The model has five factors. A weight counts as selected if its slab probability is above one half, a
factor if any column selects it; the support is exact if it is the true one up to the order of the
factors. Data and model have the same seed. Writes `results/sparse_decoding.json`.
"""

import argparse
import dataclasses
import pathlib
import time
from collections.abc import Iterable

import numpy as np

from vaejax.core.sharding import make_mesh
from vaejax.data.readers.npz import from_arrays
from vaejax.data.synthetic.tables import FACTOR_SUPPORT, factors
from vaejax.distributions.spike_and_slab_lasso import SpikeAndSlabLasso
from vaejax.experiment.build import build, training_settings
from vaejax.training import Trainer, fit

from .machine import machine
from .paths import config_of, result_path, write_json

__all__ = ["Support", "main", "support", "supports"]

_EXAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Support:
    """The support of a trained model.

    Attributes:
      seed: of data and model.
      factors: for each used factor the columns that select it, as a string of 0 and 1; sorted.
      exact: whether this is the true support.
      weakest: the smallest |w| of a selected weight.
      strongest: the largest |w| of a weight that is not selected.
      seconds: of training.
    """

    seed: int
    factors: list[str]
    exact: bool
    weakest: float
    strongest: float
    seconds: float


def _patterns(selected: np.ndarray) -> list[str]:
    """Columns of each used factor, bool `[D, K]`, as strings of 0 and 1, sorted."""
    return sorted("".join("01"[int(on)] for on in factor) for factor in selected.T if factor.any())


def support(seed: int) -> Support:
    """Trains on the data of a seed, with the setting `synthetic` of the config."""
    config = config_of("sparse_vae:synthetic")
    source = from_arrays(factors(_EXAMPLES, seed)[0], holdout=0.0)
    family = build(config, (FACTOR_SUPPORT.shape[0],), {"examples": _EXAMPLES})
    settings, _ = training_settings(config)
    start = time.perf_counter()
    mesh = make_mesh(1)  # more devices do not speed up such a small model
    state = fit(Trainer(family, source, settings, seed=seed, mesh=mesh), settings).state
    seconds = time.perf_counter() - start
    selector = state.params["selector"]
    prior = SpikeAndSlabLasso(**config["model"]["lasso"])
    selected = np.asarray(prior.slab_probability(**selector) > 0.5)
    found, truth = _patterns(selected), _patterns(FACTOR_SUPPORT)
    size = np.abs(np.asarray(selector["weights"]))
    weakest = size[selected].min(initial=np.inf)
    strongest = size[~selected].max(initial=0.0)
    return Support(
        seed, found, found == truth, round(float(weakest), 3), round(float(strongest), 3),
        round(seconds, 1),
    )  # fmt: skip


def supports(seeds: Iterable[int]) -> list[Support]:
    """`support` for each seed."""
    return [support(seed) for seed in seeds]


def main() -> None:
    """Trains, prints one line per seed and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    default = result_path("sparse_decoding.json")
    parser.add_argument("--output", type=pathlib.Path, default=default)
    args = parser.parse_args()
    results = []
    for seed in range(args.seeds):
        results.append(support(seed))
        print(results[-1], flush=True)
    exact = sum(s.exact for s in results)
    print(f"exact support on {exact} of {len(results)} seeds")
    result = {
        "what": "support found by configs/sparse_vae.py:synthetic; see benchmarks/sparse_decoding",
        **machine(),
        "exact": exact,
        "seeds": [dataclasses.asdict(s) for s in results],
    }
    write_json(args.output, result, indent=1)


if __name__ == "__main__":
    main()

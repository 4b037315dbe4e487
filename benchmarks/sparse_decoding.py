"""Does sparse decoding find which column uses which factor? The simulation of 2110.10804.

One thousand examples of seven columns, x = (z1, 2 z1, 3 z1², 4 z2, 5 z2, 6 sin z2, 7 z1 z2) and
noise of 0.5: columns 1–3 use one factor, 4–6 another, 7 both. The model has five factors. A weight
counts as selected if its p* is above one half, a factor if a column selects it; the support is
exact if it is the true one up to the order of the factors. Data and model have the same seed.

    python -m benchmarks.sparse_decoding --seeds 5
"""

import argparse
import dataclasses
import json
import pathlib
import time
from collections.abc import Iterable

import numpy as np

from benchmarks.machine import machine
from configs import sparse_vae
from vaejax.core.sharding import make_mesh
from vaejax.data.readers.npz import from_arrays
from vaejax.data.synthetic.tables import FACTOR_SUPPORT, factors
from vaejax.distributions.spike_and_slab_lasso import SpikeAndSlabLasso
from vaejax.experiment import run
from vaejax.training.loop import Settings, Trainer, fit

RESULTS = pathlib.Path(__file__).parent / "results"
EXAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Support:
    """What a model found.

    Attributes:
      seed: of data and model.
      factors: for each factor in use, which columns select it, as a string of 0 and 1; sorted.
      exact: whether that is the truth.
      weakest: the smallest weight |w| that is truly there, where the support is exact.
      strongest: the largest that is not.
      seconds: of training.
    """

    seed: int
    factors: list[str]
    exact: bool
    weakest: float
    strongest: float
    seconds: float


def patterns(selected: np.ndarray) -> list[str]:
    """Columns of each factor in use, bool `[D, K]` -> strings of 0 and 1, sorted."""
    return sorted("".join("01"[int(on)] for on in factor) for factor in selected.T if factor.any())


def support(seed: int) -> Support:
    """Trains on the data of a seed, by the setting `synthetic` of the config."""
    config = sparse_vae.get_config("synthetic").to_dict()
    source = from_arrays(factors(EXAMPLES, seed)[0], holdout=0.0)
    family = run.build(config, (FACTOR_SUPPORT.shape[0],), {"examples": EXAMPLES})
    train = {k: v for k, v in config["train"].items() if k != "eval_examples"}
    settings = Settings(**train)
    started = time.perf_counter()
    mesh = make_mesh(1)  # a model so small gains nothing from more devices
    state = fit(Trainer(family, source, settings, seed=seed, mesh=mesh), settings).state
    seconds = time.perf_counter() - started
    selector = state.params["selector"]
    prior = SpikeAndSlabLasso(**config["model"]["lasso"])
    selected = np.asarray(prior.selected(**selector) > 0.5)
    found, truth = patterns(selected), patterns(FACTOR_SUPPORT)
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
    """Prints one line a seed and writes them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS / "sparse_decoding.json")
    args = parser.parse_args()
    found = []
    for seed in range(args.seeds):
        found.append(support(seed))
        print(found[-1], flush=True)
    exact = sum(s.exact for s in found)
    print(f"exact support on {exact} of {len(found)} seeds")
    result = {
        "what": "support found by configs/sparse_vae.py:synthetic; see benchmarks/sparse_decoding",
        **machine(),
        "exact": exact,
        "seeds": [dataclasses.asdict(s) for s in found],
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""What the published implementation of the metrics says of the fixed codes.

  git clone https://github.com/google-research/disentanglement_lib DIR
  git -C DIR checkout 86a644d4ed35c771560dc3360756363d35477357
  python -m benchmarks.published_metrics --checkout=DIR

Its metrics are NumPy and scikit-learn; TensorFlow comes in only through gin, whose decorator is
stood in for here by one that fills in the settings of 1811.12359. They are called as its own
evaluation calls them, with a data set that hands out the fixed rows: the first 960 to learn from,
480 to test, and for the two scores that hold a factor draws from all 1,440. Needs the packages of
the extra `test`, and six. Writes `results/published_metrics.json`.
"""

import functools
import importlib
import inspect
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import sklearn.metrics
from absl import app, flags

from benchmarks import fixed_codes

_CHECKOUT = flags.DEFINE_string("checkout", None, "A clone of disentanglement_lib.", required=True)
_RESULT = flags.DEFINE_string("result", "benchmarks/results/published_metrics.json", "To write.")
SIZES, TRAIN = fixed_codes.SIZES, fixed_codes.TRAIN


def stand_in(settings: dict[str, dict[str, Any]]) -> types.ModuleType:
    """A module with gin's `configurable` and `REQUIRED`, for these settings by function name."""

    def configurable(name: str, blacklist: Any = None) -> Callable[..., Any]:
        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def call(*args: Any, **kwargs: Any) -> Any:
                given = inspect.signature(function).bind_partial(*args, **kwargs).arguments
                bound = settings.get(name, {}).items()
                return function(*args, **kwargs, **{k: v for k, v in bound if k not in given})

            return call

        return decorate

    module = types.ModuleType("gin")
    module.__dict__.update(configurable=configurable, REQUIRED=None, tf=module)
    return module


class Fixed:
    """The data set that the published code draws from; an observation is a row number."""

    num_factors = len(SIZES)

    def __init__(self) -> None:
        self.factors = fixed_codes.factors()
        self.where = np.argsort(np.ravel_multi_index(self.factors.T, SIZES))
        self.next = 0

    def sample(self, num: int, random_state: Any) -> tuple[np.ndarray, np.ndarray]:
        """The next rows, in order, so that a fresh object gives the training rows first."""
        rows = np.arange(self.next, self.next + num)
        self.next += num
        return self.factors[rows], rows

    def sample_factors(self, num: int, random_state: Any) -> np.ndarray:
        return np.stack([random_state.randint(size, size=num) for size in SIZES], axis=1)

    def sample_observations_from_factors(self, factors: np.ndarray, random_state: Any) -> Any:
        return self.where[np.ravel_multi_index(factors.T, SIZES)]

    def sample_observations(self, num: int, random_state: Any) -> np.ndarray:
        return self.sample_observations_from_factors(self.sample_factors(num, random_state), None)


class InOrder(Fixed):
    """The same, whose observations are the fixed rows too: for UDR."""

    def sample_observations(self, num: int, random_state: Any) -> np.ndarray:
        return self.sample(num, random_state)[1]


def of_case(metrics: Callable[[str], Any], case: str) -> dict[str, float]:
    """The published metrics of one case."""
    z = fixed_codes.codes(case)

    def score(module: str, function: str, **options: Any) -> dict[str, float]:
        np.random.seed(0)  # noqa: NPY002 — the boosted trees draw from the global state
        compute = getattr(metrics(module), function)
        return compute(Fixed(), lambda rows: z[rows], np.random.RandomState(0), **options)

    split = {"num_train": TRAIN, "num_test": len(z) - TRAIN}
    sets = {"batch_size": 64, "num_train": 10_000, "num_eval": 5_000}
    held = score("factor_vae", "compute_factor_vae", num_variance_estimate=10_000, **sets)
    trees = score("dci", "compute_dci", **split)
    mozer = score("modularity_explicitness", "compute_modularity_explicitness", **split)
    shared = score("beta_vae", "compute_beta_vae_sklearn", **sets)
    found = {
        "mig": score("mig", "compute_mig", num_train=TRAIN)["discrete_mig"],
        "factor_vae_score": held["eval_accuracy"],
        "beta_vae_score": shared["eval_accuracy"],
        "dci/disentanglement": trees["disentanglement"],
        "dci/completeness": trees["completeness"],
        "dci/informativeness": trees["informativeness_test"],
        "modularity": mozer["modularity_score"],
        "explicitness": mozer["explicitness_score_test"],
        "irs": score("irs", "compute_irs", num_train=TRAIN, batch_size=64)["IRS"],
    }
    for name, continuous in (("sap", False), ("sap/continuous", True)):
        options = {"continuous_factors": continuous, **split}
        found[name] = score("sap_score", "compute_sap", **options)["SAP_score"]
    return {name: float(value) for name, value in found.items()}


def of_models(udr: Any, correlation: str) -> dict[str, Any]:
    """The published UDR of the fixed models."""
    functions = [
        lambda rows, z=z, kl=kl: (z[rows], kl) for z, kl in zip(*fixed_codes.models(), strict=True)
    ]
    found = udr.compute_udr_sklearn(
        InOrder(), functions, np.random.RandomState(0), 480, 1440, correlation_matrix=correlation
    )
    pairwise = np.array(found["pairwise_disentanglement_scores"])[..., 0]
    return {"udr": [float(s) for s in found["model_scores"]], "pairwise": pairwise.tolist()}


def main(argv: list[str]) -> None:
    """Imports the checkout, runs it, writes."""
    del argv
    settings: dict[str, dict[str, Any]] = {"prune_dims": {"threshold": 0.05}}
    sys.modules["gin"] = sys.modules["gin.tf"] = stand_in(settings)
    sys.path.insert(0, str(Path(_CHECKOUT.value).absolute()))

    def metrics(name: str) -> Any:
        return importlib.import_module(f"disentanglement_lib.evaluation.metrics.{name}")

    bins = metrics("utils")._histogram_discretize
    settings["discretizer"] = {"num_bins": 20, "discretizer_fn": bins}
    udr = importlib.import_module("disentanglement_lib.evaluation.udr.metrics.udr")
    packages = {m.__name__: m.__version__ for m in (np, scipy, sklearn)}
    result = {
        "code": "github.com/google-research/disentanglement_lib at 86a644d4ed35 (2020-08-26)",
        "versions": packages,
        "cases": {case: of_case(metrics, case) for case in fixed_codes.CASES},
        "udr": {name: of_models(udr, name) for name in ("lasso", "spearman")},
    }
    Path(_RESULT.value).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)

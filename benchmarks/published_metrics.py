"""Disentanglement metrics of the published implementation on the fixed codes.

  git clone https://github.com/google-research/disentanglement_lib DIR
  git -C DIR checkout 86a644d4ed35c771560dc3360756363d35477357
  python -m benchmarks.published_metrics --checkout=DIR

Its metrics need NumPy and scikit-learn; only gin needs TensorFlow, so gin's decorator is replaced
here by one that inserts the settings of 1811.12359. The metrics are called as in its own
evaluation, with a dataset that returns the fixed rows: the first 960 for training, 480 for testing,
and for the two scores that fix a factor samples of all 1,440. Needs the packages of the extra
`test`, and six. Writes `results/published_metrics.json`.
"""

import functools
import importlib
import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import sklearn.metrics
from absl import app, flags

from . import fixed_codes
from .paths import result_path, write_json

__all__ = ["main"]

_CHECKOUT = flags.DEFINE_string("checkout", None, "A clone of disentanglement_lib.", required=True)
_RESULT = flags.DEFINE_string("result", str(result_path("published_metrics.json")), "To write.")
_SIZES, _TRAIN = fixed_codes.SIZES, fixed_codes.TRAIN


def _replace_gin(settings: dict[str, dict[str, Any]]) -> types.ModuleType:
    """A module with gin's `configurable` and `REQUIRED`; the settings are by function name."""

    def configurable(name: str, blacklist: Any = None) -> Callable[..., Any]:
        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def call(*args: Any, **kwargs: Any) -> Any:
                passed = inspect.signature(function).bind_partial(*args, **kwargs).arguments
                bound = settings.get(name, {}).items()
                return function(*args, **kwargs, **{k: v for k, v in bound if k not in passed})

            return call

        return decorate

    module = types.ModuleType("gin")
    module.__dict__.update(configurable=configurable, REQUIRED=None, tf=module)
    return module


class _FixedDataset:
    """The dataset that the published code samples from; an observation is a row number."""

    num_factors = len(_SIZES)

    def __init__(self) -> None:
        self.factors = fixed_codes.factors()
        self.rows = np.argsort(np.ravel_multi_index(self.factors.T, _SIZES))
        self.next = 0

    def sample(self, num: int, random_state: Any) -> tuple[np.ndarray, np.ndarray]:
        """The next rows in order, so that a new object returns the training rows first."""
        rows = np.arange(self.next, self.next + num)
        self.next += num
        return self.factors[rows], rows

    def sample_factors(self, num: int, random_state: Any) -> np.ndarray:
        return np.stack([random_state.randint(size, size=num) for size in _SIZES], axis=1)

    def sample_observations_from_factors(self, factors: np.ndarray, random_state: Any) -> Any:
        return self.rows[np.ravel_multi_index(factors.T, _SIZES)]

    def sample_observations(self, num: int, random_state: Any) -> np.ndarray:
        return self.sample_observations_from_factors(self.sample_factors(num, random_state), None)


class _OrderedDataset(_FixedDataset):
    """Its observations are the fixed rows in order, for UDR."""

    def sample_observations(self, num: int, random_state: Any) -> np.ndarray:
        return self.sample(num, random_state)[1]


def _metrics_of_case(metrics: Callable[[str], Any], case: str) -> dict[str, float]:
    """The published metrics of one case."""
    z = fixed_codes.codes(case)

    def score(module: str, function: str, **options: Any) -> dict[str, float]:
        np.random.seed(0)  # noqa: NPY002 — the boosted trees use the global state
        compute = getattr(metrics(module), function)
        return compute(_FixedDataset(), lambda rows: z[rows], np.random.RandomState(0), **options)

    split = {"num_train": _TRAIN, "num_test": len(z) - _TRAIN}
    sets = {"batch_size": 64, "num_train": 10_000, "num_eval": 5_000}
    factor_vae = score("factor_vae", "compute_factor_vae", num_variance_estimate=10_000, **sets)
    trees = score("dci", "compute_dci", **split)
    modularity = score("modularity_explicitness", "compute_modularity_explicitness", **split)
    beta_vae = score("beta_vae", "compute_beta_vae_sklearn", **sets)
    values = {
        "mig": score("mig", "compute_mig", num_train=_TRAIN)["discrete_mig"],
        "factor_vae_score": factor_vae["eval_accuracy"],
        "beta_vae_score": beta_vae["eval_accuracy"],
        "dci/disentanglement": trees["disentanglement"],
        "dci/completeness": trees["completeness"],
        "dci/informativeness": trees["informativeness_test"],
        "modularity": modularity["modularity_score"],
        "explicitness": modularity["explicitness_score_test"],
        "irs": score("irs", "compute_irs", num_train=_TRAIN, batch_size=64)["IRS"],
    }
    for name, continuous in (("sap", False), ("sap/continuous", True)):
        options = {"continuous_factors": continuous, **split}
        values[name] = score("sap_score", "compute_sap", **options)["SAP_score"]
    return {name: float(value) for name, value in values.items()}


def _udr_of_models(udr: Any, correlation: str) -> dict[str, Any]:
    """The published UDR of the fixed models."""
    functions = [
        lambda rows, z=z, kl=kl: (z[rows], kl) for z, kl in zip(*fixed_codes.models(), strict=True)
    ]
    scores = udr.compute_udr_sklearn(
        _OrderedDataset(),
        functions,
        np.random.RandomState(0),
        480,
        1440,
        correlation_matrix=correlation,
    )
    pairwise = np.array(scores["pairwise_disentanglement_scores"])[..., 0]
    return {"udr": [float(s) for s in scores["model_scores"]], "pairwise": pairwise.tolist()}


def main(argv: list[str]) -> None:
    """Imports the checkout, runs its metrics and writes."""
    del argv
    settings: dict[str, dict[str, Any]] = {"prune_dims": {"threshold": 0.05}}
    sys.modules["gin"] = sys.modules["gin.tf"] = _replace_gin(settings)
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
        "cases": {case: _metrics_of_case(metrics, case) for case in fixed_codes.CASES},
        "udr": {name: _udr_of_models(udr, name) for name in ("lasso", "spearman")},
    }
    write_json(Path(_RESULT.value), result)


if __name__ == "__main__":
    app.run(main)

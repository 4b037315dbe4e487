"""The settings of an evaluation, a config's section `evaluate`."""

import dataclasses

__all__ = ["NEIGHBORS", "AnnealingOptions", "EvaluateOptions"]

NEIGHBORS = 3  # k of precision and recall, as in 1904.06991


@dataclasses.dataclass(frozen=True)
class AnnealingOptions:
    """Settings of annealed importance sampling, see `rate_distortion.annealed_metrics`.

    Attributes:
      temperatures: from the prior to the posterior; 0: off, since it takes minutes.
      chains: for each example.
      leapfrog: steps of a transition.
      step_size: of the first transition.
      examples: the first of `eval_order`; 0: all.
    """

    temperatures: int = 0
    chains: int = 16
    leapfrog: int = 10
    step_size: float = 0.1
    examples: int = 100

    def __post_init__(self) -> None:
        _check("annealing.temperatures", self.temperatures, 0)
        _check("annealing.chains", self.chains, 1)
        _check("annealing.leapfrog", self.leapfrog, 1)
        _check("annealing.examples", self.examples, 0)


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Which metrics are computed after training, in addition to those of every checkpoint.

    Attributes:
      metrics: names of metrics, separated by commas.
      importance_samples: of z for each example, for `log_likelihood`; 0: off.
      examples: for `log_likelihood`; 0: all.
      disentanglement: all disentanglement metrics, for data with factors; takes minutes.
      mutual_information_samples: examples, for I(x; z) and KL(q(z) || p(z)); 0: off.
      num_generated: samples, for sharpness and sample quality; 0: off.
      feature_extractor: for Fréchet distance, precision and recall: the working directory of a run
        of `configs/classifier.py`, or a file (see `docs/metrics.md`).
      annealing: of annealed importance sampling.
    """

    metrics: str = ""
    importance_samples: int = 0
    examples: int = 0
    disentanglement: bool = False
    mutual_information_samples: int = 0
    num_generated: int = 0
    feature_extractor: str = ""
    annealing: AnnealingOptions = dataclasses.field(default_factory=AnnealingOptions)

    def __post_init__(self) -> None:
        _check("importance_samples", self.importance_samples, 0)
        _check("examples", self.examples, 0)
        _check("mutual_information_samples", self.mutual_information_samples, 0)
        _check("num_generated", self.num_generated, 0)
        if 0 < self.num_generated <= NEIGHBORS:
            raise ValueError(
                f"evaluate.num_generated must be more than {NEIGHBORS}, or 0 for none; found "
                f"{self.num_generated}"
            )


def _check(name: str, value: int, low: int) -> None:
    if value < low:
        raise ValueError(f"evaluate.{name} must be at least {low}, found {value}")

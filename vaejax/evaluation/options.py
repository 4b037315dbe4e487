"""The settings of an evaluation, a config's section `evaluate`."""

import dataclasses

from vaejax.core.fields import check_fields, field

__all__ = ["NEIGHBORS", "AnnealingOptions", "EvaluateOptions"]

NEIGHBORS = 3  # k of precision and recall, as in 1904.06991
_MEMORY = "more would not fit into memory"


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

    temperatures: int = field(
        0, "from the prior to the posterior; 0: off, since it takes minutes", low=0, high=10**6
    )
    chains: int = field(16, "for each example", low=1, high=10**6, reason=_MEMORY)
    leapfrog: int = field(10, "steps of a transition", low=1, high=10**6)
    step_size: float = field(0.1, "of the first transition", low=0, above=True)
    examples: int = field(100, "the first of the evaluation order; 0: all", low=0)

    def __post_init__(self) -> None:
        check_fields(self, "evaluate.annealing")


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

    metrics: str = field("", "names of metrics, separated by commas")
    importance_samples: int = field(
        0, "of z for each example, for log_likelihood; 0: off", low=0, high=10**6, reason=_MEMORY
    )
    examples: int = field(0, "for log_likelihood; 0: all", low=0)
    disentanglement: bool = field(False, "all such metrics, for data with factors; takes minutes")
    mutual_information_samples: int = field(
        0, "examples, for I(x; z) and KL(q(z) || p(z)); 0: off", low=0
    )
    num_generated: int = field(
        0, "samples, for sharpness and sample quality", low=NEIGHBORS, above=True, zero="none"
    )
    feature_extractor: str = field(
        "", "for Fréchet distance, precision and recall: the workdir of a classifier, or a file"
    )
    annealing: AnnealingOptions = dataclasses.field(default_factory=AnnealingOptions)

    def __post_init__(self) -> None:
        check_fields(self, "evaluate")

"""What a distribution supports, declared by its class and read by losses, metrics and figures."""

from typing import Any, NamedTuple

__all__ = ["Capabilities", "capabilities_of"]


class Capabilities(NamedTuple):
    """Declared by every distribution as its attribute `capabilities`.

    Attributes:
      continuous: values are real numbers; `mean` and `log_prob` are those of a density. Metrics
        such as `active_units` and importance sampling need this of a posterior.
      euclidean: the density is with respect to the Lebesgue measure on all of ℝᴰ and
        differentiable, so that gradient-based sampling (annealing) can move in it.
      elementwise: `log_prob(x)` has the shape of x; otherwise it reduces the axes of one value,
        `[B, ...] -> [B]`.
      reparameterized: gradients pass through `sample`.
      indices: values are classes; `indices` int32 `[B, ...]` are the most likely ones and `size`
        is the number of classes.
      quantized: besides `indices` it has the encoder's `features` and the chosen `codes`
        `[..., D]`, as losses of quantizers need.
      bits_per_dim: as a likelihood, `log_prob` is the log-probability of one of finitely many
        values, so that bits per dimension can be reported.
      monte_carlo_kl: as a prior, the KL to it is estimated from one sample although a closed form
        may exist, since it depends on the sample through other nodes.
    """

    continuous: bool = False
    euclidean: bool = False
    elementwise: bool = True
    reparameterized: bool = False
    indices: bool = False
    quantized: bool = False
    bits_per_dim: bool = False
    monte_carlo_kl: bool = False


def capabilities_of(distribution: Any) -> Capabilities:
    """The declared capabilities of a distribution.

    Raises:
      TypeError: its class declares none.
    """
    declared = getattr(distribution, "capabilities", None)
    if not isinstance(declared, Capabilities):
        raise TypeError(
            f"the class {type(distribution).__name__} declares no capabilities; add "
            "`capabilities: ClassVar[Capabilities] = Capabilities(...)`, see "
            "vaejax.distributions.Capabilities"
        )
    return declared

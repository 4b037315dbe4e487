"""TD-VAE, and the step-by-step model it is to be compared with."""

from collections.abc import Sequence
from typing import Any

from vaejax import losses, models, networks
from vaejax.core.game import Family, assign, chain
from vaejax.distributions.likelihoods import Likelihood
from vaejax.distributions.likelihoods import likelihood as make_likelihood
from vaejax.families.shared import Players
from vaejax.models.time_pairs import make_steps
from vaejax.networks import gated_mlp


def _of_frames(
    shape: Sequence[int], network: Any, features: int, likelihood: Likelihood
) -> networks.Pair:
    """Encoder and decoder of one frame.

    Raises:
      ValueError: events are no sequences.
    """
    if len(shape) < 2:
        found = f"found events of shape {tuple(shape)}"
        raise ValueError(f"a model of sequences wants events of shape (T, ...), {found}")
    return networks.build(network, shape[1:], features, likelihood.width(shape[-1]))


def td_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dims: Sequence[int] = (8, 8),
    belief: Any = "lstm",
    features: int = 50,
    network: Any = "mlp",
    hidden: Sequence[int] = (50,),
    likelihood: Any = "bernoulli",
    steps: Sequence[Sequence[float]] = ((1, 4),),
    pairs: int = 1,
    know_steps: bool = True,
) -> Family:
    """TD-VAE (1806.03107): player `vae` minimises nll + kl, the kl of z_t2 and of z_t1.

    Args:
      shape: of one sequence, (T, ...).
      players: `vae`.
      latent_dims: of each layer of z, the top first.
      belief: how the past is remembered: one of `networks.recurrent.RECURRENT`.
      features: that the encoder gives of each frame.
      network: encoder and decoder of a frame, see `networks.build`.
      hidden: widths of the gated layers of each conditional density.
      likelihood: p(x_t | z_t).
      steps: ranges of t2 − t1, (lowest, highest) or (lowest, highest, weight) each.
      pairs: of times in each sequence.
      know_steps: whether smoothing and transition are told t2 − t1.

    Raises:
      ValueError: events are no sequences, or the steps do not fit into them.
    """
    p = make_likelihood(likelihood)
    look, paint = _of_frames(shape, network, features, p)
    cascade = tuple(gated_mlp(2 * dim, hidden) for dim in latent_dims)
    memory = networks.build_recurrent(belief)
    parts = models.Parts(look, memory, cascade, cascade, cascade, paint)
    model = models.td_vae(
        parts, p, shape, latent_dims=latent_dims, steps=make_steps(steps, shape[0]), pairs=pairs,
        know_steps=know_steps,
    )  # fmt: skip
    groups = ("belief", "smoothing", "transition", "decoder")
    return Family(model, chain(losses.nll(), losses.kl()), assign({"vae": groups}, players))


def state_space(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dims: Sequence[int] = (8, 8),
    belief: Any = "lstm",
    features: int = 50,
    network: Any = "mlp",
    hidden: Sequence[int] = (50,),
    likelihood: Any = "bernoulli",
) -> Family:
    """A state-space model, step by step (1511.05121): player `vae` minimises nll + kl.

    The settings are those of `td_vae`; the ELBO is that of whole sequences.

    Raises:
      ValueError: events are no sequences.
    """
    p = make_likelihood(likelihood)
    look, paint = _of_frames(shape, network, features, p)
    cascade = tuple(gated_mlp(2 * dim, hidden) for dim in latent_dims)
    parts = models.StepParts(look, networks.build_recurrent(belief), cascade, cascade, paint)
    model = models.state_space(parts, p, shape, latent_dims=latent_dims)
    groups = ("belief", "transition", "decoder")
    return Family(model, chain(losses.nll(), losses.kl()), assign({"vae": groups}, players))

"""TD-VAE, and the state-space model that is its baseline."""

from collections.abc import Sequence
from typing import NamedTuple

from vaejax import losses, models, networks
from vaejax.core.game import Family, assign, chain
from vaejax.core.types import Options, Setting
from vaejax.distributions.likelihoods import Likelihood
from vaejax.distributions.likelihoods import likelihood as make_likelihood
from vaejax.families.shared import Players, with_options_of
from vaejax.models.stacked_latents import StackedNetworks
from vaejax.models.time_pairs import delta_distribution

__all__ = ["state_space", "td_vae"]


class _SequenceNetworks(NamedTuple):
    """The networks of a sequence model; `layers` for each of its conditional densities."""

    likelihood: Likelihood
    latent_dims: tuple[int, ...]
    frame_encoder: networks.Network
    aggregator: networks.Recurrent
    layers: StackedNetworks
    decoder: networks.Network


def _sequence_networks(
    shape: Sequence[int],
    *,
    latent_dims: Sequence[int] = (8, 8),
    belief: str | Options | networks.Recurrent = "lstm",
    features: int = 50,
    network: str | Options | networks.Pair = "mlp",
    hidden: Sequence[int] = (50,),
    likelihood: str | Options | Likelihood = "bernoulli",
) -> _SequenceNetworks:
    """The networks that TD-VAE and the state-space model have in common.

    Args:
      shape: of one sequence, (T, ...).
      latent_dims: dimensions of each layer of z, the top first.
      belief: network that aggregates the past: one of `networks.RECURRENT`.
      features: number of the encoder's outputs for each frame.
      network: encoder and decoder of a frame, see `networks.build`.
      hidden: widths of the gated layers of each conditional density.
      likelihood: p(x_t | z_t).

    Raises:
      ValueError: the events are not sequences.
    """
    if len(shape) < 2:
        raise ValueError(
            f"a sequence model needs events of shape (T, ...), found events of shape {tuple(shape)}"
        )
    p = make_likelihood(likelihood)
    encoder, decoder = networks.build(network, shape[1:], features, p.width(shape[-1]))
    return _SequenceNetworks(
        p,
        tuple(latent_dims),
        encoder,
        networks.build_recurrent(belief),
        tuple(networks.gated_mlp(2 * dim, hidden) for dim in latent_dims),
        decoder,
    )


@with_options_of(_sequence_networks)
def td_vae(
    shape: Sequence[int],
    players: Players,
    *,
    steps: Sequence[Sequence[float]] = ((1, 4),),
    num_pairs: int = 1,
    condition_on_delta: bool = True,
    **options: Setting,
) -> Family:
    """TD-VAE (1806.03107): player `vae` minimises nll + kl, the kl of z_t2 and of z_t1.

    Args:
      shape: of one sequence, (T, ...).
      players: `vae`.
      **options: of `_sequence_networks`.
      steps: ranges of δ = t2 − t1, (lowest, highest) or (lowest, highest, weight) each.
      num_pairs: pairs of times in each sequence.
      condition_on_delta: whether smoother and transition receive δ.

    Raises:
      ValueError: the events are not sequences, or the steps do not fit into them.
    """
    nets = _sequence_networks(shape, **options)
    parts = models.TDVAEParts(
        nets.frame_encoder, nets.aggregator, nets.layers, nets.layers, nets.layers, nets.decoder
    )
    model = models.td_vae(
        parts,
        nets.likelihood,
        shape,
        latent_dims=nets.latent_dims,
        deltas=delta_distribution(steps, shape[0]),
        num_pairs=num_pairs,
        condition_on_delta=condition_on_delta,
    )
    groups = ("belief", "smoothing", "transition", "decoder")
    return Family(model, chain(losses.nll(), losses.kl()), assign({"vae": groups}, players))


@with_options_of(_sequence_networks)
def state_space(shape: Sequence[int], players: Players, **options: Setting) -> Family:
    """A state-space model (1511.05121): player `vae` minimises nll + kl.

    The ELBO is that of whole sequences.

    Args:
      shape: of one sequence, (T, ...).
      players: `vae`.
      **options: of `_sequence_networks`.

    Raises:
      ValueError: the events are not sequences.
    """
    nets = _sequence_networks(shape, **options)
    parts = models.StateSpaceParts(
        nets.frame_encoder, nets.aggregator, nets.layers, nets.layers, nets.decoder
    )
    model = models.state_space(parts, nets.likelihood, shape, latent_dims=nets.latent_dims)
    groups = ("belief", "transition", "decoder")
    return Family(model, chain(losses.nll(), losses.kl()), assign({"vae": groups}, players))

"""The families: a model, a chain of losses, a table of players; about a dozen lines each.

Weights, schedules and optimizers are the caller's: `players` maps each player of the family to
`(loss name -> weight, optimizer)`.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optax

from vaejax import (
    bottlenecks,
    conditions,
    latent_priors,
    losses,
    models,
    networks,
    pseudo_inputs,  # noqa: F401, it registers its prior
    quantizers,
)
from vaejax.game import Family, Model, Weight, assign, chain
from vaejax.lasso import SpikeAndSlabLasso, closed_form_inclusion
from vaejax.likelihoods import likelihood as make_likelihood
from vaejax.models import autoencoder, columns_of
from vaejax.schedules import schedule
from vaejax.settings import call, near_names

Players = Mapping[str, tuple[Mapping[str, Weight], optax.GradientTransformation]]


def _gaussian_vae(
    shape: Sequence[int],
    latent_dim: int,
    network: Any,
    likelihood: Any,
    prior: Any,
    **options: Any,
) -> tuple[Model, tuple[str, ...]]:
    """An autoencoder with one Gaussian latent, and its parameter groups, the encoder's first."""
    p, p_z = make_likelihood(likelihood), latent_priors.latent_prior(prior, shape)
    bottleneck = bottlenecks.gaussian(latent_dim)
    encoder, decoder = networks.build(network, shape, bottleneck.width, p.width(shape[-1]))
    model = autoencoder(encoder, bottleneck, decoder, p, shape, prior=p_z, **options)
    return model, ("encoder", "decoder", *(("prior",) if p_z else ()))


def beta_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    capacity: Any = None,
    free_bits: Mapping[str, Any] | None = None,
) -> Family:
    """β-VAE (Higgins et al. 2017): player `vae` minimises nll + β · kl.

    Of this family as of its relatives below, `prior` is one of `latent_priors.PRIORS`: N(0, I), a
    learned mixture, or a VampPrior, whose parameters belong to the decoder's owner.

    With `capacity`, a schedule of C(t) in nats, the chain also makes `kl_capacity` = |KL − C(t)|
    (Burgess et al., 1804.03599), to be minimised in place of `kl` with weight γ. With `free_bits`,
    settings of `losses.free_bits`, it makes `kl_free` (1606.04934), likewise.
    """
    model, groups = _gaussian_vae(shape, latent_dim, network, likelihood, prior)
    terms = [losses.nll(), losses.kl()]
    if capacity is not None:
        target = schedule(capacity)
        terms.append(losses.capacity(target if callable(target) else lambda step: target))
    if free_bits is not None:
        terms.append(call(losses.free_bits, "free_bits", **free_bits))
    return Family(model, chain(*terms), assign({"vae": groups}, players))


def beta_tcvae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    sampling: str = "weighted",
    examples: int = 0,
) -> Family:
    """β-TCVAE (1802.04942): player `vae` minimises nll + mi + β · tc + dimwise_kl.

    The three are estimated by minibatch weighted or stratified `sampling` of `examples` examples.
    """
    model, groups = _gaussian_vae(shape, latent_dim, network, likelihood, prior)
    terms = chain(losses.nll(), losses.kl(), losses.decomposition(examples, sampling))
    return Family(model, terms, assign({"vae": groups}, players))


def dip_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    kind: str = "i",
) -> Family:
    """DIP-VAE-I or II (1711.00848): `vae` minimises nll + kl + dip_off_diagonal, dip_diagonal."""
    model, groups = _gaussian_vae(shape, latent_dim, network, likelihood, prior)
    terms = chain(losses.nll(), losses.kl(), losses.dip(kind))
    return Family(model, terms, assign({"vae": groups}, players))


def sigma_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "normal",
    prior: Any = "standard",
) -> Family:
    """σ-VAE (2006.13202): player `vae` minimises nll_optimal + kl.

    Or nll + kl, with a likelihood of scale `'learned'` or `'predicted'`.
    """
    model, groups = _gaussian_vae(shape, latent_dim, network, likelihood, prior)
    terms = chain(losses.nll(), losses.kl(), losses.nll_optimal())
    return Family(model, terms, assign({"vae": groups}, players))


def geco_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    target: float = 0.0,
) -> Family:
    """GECO (1810.00597): `vae` minimises kl + geco, `multiplier` −geco: nll is held at `target`."""
    model, groups = _gaussian_vae(shape, latent_dim, network, likelihood, prior)
    terms = chain(losses.nll(), losses.kl(), losses.geco(target))
    return Family(model, terms, assign({"vae": groups, "multiplier": ("geco",)}, players))


def iwae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 50,
    network: Any = "mlp",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    samples: int = 5,
) -> Family:
    """IWAE (1509.00519): players `encoder` and `decoder` minimise iwae, of `samples` draws each.

    For the doubly reparameterised gradient (1810.04152), `encoder` minimises dreg; for a VAE of
    several draws, both minimise nll + kl.
    """
    model, (encoder, *rest) = _gaussian_vae(
        shape, latent_dim, network, likelihood, prior, samples=samples
    )
    terms = chain(losses.nll(), losses.kl(), losses.iwae(samples), losses.dreg(samples))
    owners = {"encoder": (encoder,), "decoder": tuple(rest)}
    return Family(model, terms, assign(owners, players))


def vqvae(
    shape: Sequence[int],
    players: Players,
    *,
    codes: int = 512,
    code_dim: int = 64,
    network: Any = "residual",
    likelihood: Any = "normal",
) -> Family:
    """VQ-VAE (1711.00937): player `vae` minimises nll + ¼ · vq, player `codebook` minimises vq."""
    p = make_likelihood(likelihood)
    bottleneck = quantizers.vector(codes, code_dim)
    encoder, decoder = networks.build(network, shape, bottleneck.width, p.width(shape[-1]))
    model = autoencoder(encoder, bottleneck, decoder, p, shape)
    owners = {"vae": ("encoder", "decoder"), "codebook": ("codebook",)}
    return Family(model, chain(losses.nll(), losses.kl(), losses.vq()), assign(owners, players))


def cvae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 16,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    condition: str = "label",
    classes: int = 0,
    condition_shape: Sequence[int] | None = None,
    conditioned: Sequence[str] = ("encoder", "decoder"),
    learned_prior: bool = True,
    prior_network: Any = "mlp",
    guess: Any = None,
    hybrid: bool = False,
) -> Family:
    """Conditional VAE (Sohn et al. 2015, eq. 4): player `vae` minimises nll + kl.

    q(z | x, c) against p(z | c), with p(x | z, c). With `hybrid` the chain also makes `gsnn`, and
    weights α, α, 1 − α of nll, kl, gsnn are the hybrid objective (eq. 7).

    Args:
      shape: of one event.
      players: `vae`, and with a guess `guess`.
      latent_dim: of z.
      network: encoder and decoder.
      likelihood: p(x | z, c).
      condition: `'label'`, or the name of another array in the batch (`'condition'`).
      classes: of the label.
      condition_shape: of one condition that is no label; None for the event's.
      conditioned: which of `'encoder'` and `'decoder'` see the condition.
      learned_prior: p(z | c) by a network, or else N(0, I).
      prior_network: its architecture.
      guess: architecture of a network that first predicts the hidden part of the condition for the
        prior (section 4.2), learned by the player `guess` from the loss `guess`; None for none.
      hybrid: whether to make `gsnn`.

    Raises:
      ValueError: a guess without a learned prior or without a condition of the event's shape.
    """
    p = make_likelihood(likelihood)
    c_shape = (classes,) if condition == "label" else tuple(condition_shape or shape)
    given = conditions.condition(condition, classes=classes, shape=c_shape)
    bottleneck, width = bottlenecks.gaussian(latent_dim), p.width(shape[-1])
    encoder, decoder = (
        net if name in conditioned else networks.blind(net)
        for name, net in zip(
            ("encoder", "decoder"),
            networks.build(network, shape, bottleneck.width, width),
            strict=True,
        )
    )
    owners, terms = ["encoder", "decoder"], [losses.nll(), losses.kl()]
    rows: dict[str, tuple[str, ...]] = {}
    prior = None
    if learned_prior:
        owners.append("prior")
        inner, _ = networks.build(prior_network, c_shape, bottleneck.width, 1)
        prior = latent_priors.conditional(inner)
    if guess is not None:
        if prior is None or c_shape != tuple(shape):
            raise ValueError(
                "model.guess completes a condition of the event's shape for a learned prior; "
                f"found learned_prior={learned_prior} and conditions of shape {c_shape}"
            )
        flat, _ = networks.build(guess, c_shape, math.prod(shape[:-1]) * width, 1)
        guesser = networks.reshaped(flat, (*shape[:-1], width))
        prior = latent_priors.with_guess(
            prior, guesser, lambda c, features: conditions.completed(c, p.apply(features).mean)
        )
        terms.append(losses.guess(guesser, p))
        rows["guess"] = ("guess",)
    if hybrid:
        terms.append(losses.gsnn())
    model = autoencoder(
        encoder, bottleneck, decoder, p, shape, prior=prior, condition=given, generated=hybrid
    )
    return Family(model, chain(*terms), assign({"vae": tuple(owners), **rows}, players))


def info_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    mmd: Mapping[str, Any] | None = None,
) -> Family:
    """InfoVAE (1706.02262, section 3): player `vae` minimises nll + (1−α) · kl + (α+λ−1) · mmd.

    WAE-MMD (1711.01558) is nll + λ · mmd. Of both, `mmd` holds the settings of `losses.mmd`.
    """
    model, groups = _gaussian_vae(shape, latent_dim, network, likelihood, prior)
    terms = chain(losses.nll(), losses.kl(), call(losses.mmd, "mmd", **(mmd or {})))
    return Family(model, terms, assign({"vae": groups}, players))


def factor_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    critic: Mapping[str, Any] | None = None,
) -> Family:
    """FactorVAE (1802.05983): player `vae` minimises nll + kl + γ · tc, player `critic` critic.

    Of a batch, the critic sees the first half as it is and the second half shuffled. `critic` are
    arguments of `networks.latent_critic`.
    """
    model, groups = _gaussian_vae(shape, latent_dim, network, likelihood, prior)
    judge = call(networks.latent_critic, "critic", **(critic or {}))
    terms = chain(losses.nll(), losses.kl(), losses.total_correlation(judge))
    return Family(model, terms, assign({"vae": groups, "critic": ("critic",)}, players))


def vae_gan(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 64,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    critic: Any = None,
    objective: str = "gan",
    prior_samples: bool = True,
    real_weight: float = 1.0,
    feature_scale: float = 1.0,
    r1: bool = False,
    adaptive: Mapping[str, Any] | None = None,
) -> Family:
    """VAE-GAN (1512.09300): a critic's middle layer is the metric, its verdict a further loss.

    Player `encoder` minimises kl + feature, `decoder` γ · feature − gan (or + generator), `critic`
    gan (Algorithm 1); the raw `nll`, of the pixels, is only reported. `critic` are arguments of
    `networks.image_critic`, or a network; `adaptive` those of `losses.Adaptive` but the first, such
    as `{"layer": "decoder/Conv_2/kernel"}`; the other options are those of `losses.adversarial`.
    """
    p = make_likelihood(likelihood)
    bottleneck = bottlenecks.gaussian(latent_dim)
    encoder, decoder = networks.build(network, shape, bottleneck.width, p.width(shape[-1]))
    model = autoencoder(encoder, bottleneck, decoder, p, shape, generated=prior_samples)
    adversary = losses.adversarial(
        networks.build_critic(critic or {}, shape),
        objective,
        prior_samples=prior_samples,
        real_weight=real_weight,
        feature_scale=feature_scale,
        r1=r1,
        adaptive=call(losses.Adaptive, "adaptive", model.decode, **adaptive) if adaptive else None,
    )
    owners = {name: (name,) for name in ("encoder", "decoder", "critic")}
    return Family(model, chain(losses.nll(), losses.kl(), adversary), assign(owners, players))


def sparse_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 64,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    alpha: float = 0.01,
    sharpness: Any = 200.0,
    slab: Any = 1.0,
    relaxed: bool = True,
) -> Family:
    """Variational sparse coding (Tonolini et al., UAI 2019): player `vae` minimises nll + kl.

    With the prior `'pseudo_inputs'`, nll + kl + spike. `sharpness`, `slab` (schedules, for the
    warm-ups), `relaxed` and, for the prior `'standard'`, `alpha` are those of
    `bottlenecks.spike_and_slab`; otherwise `alpha` is that of `losses.spike`.
    """
    p, p_z = make_likelihood(likelihood), latent_priors.latent_prior(prior, shape)
    bottleneck = bottlenecks.spike_and_slab(
        latent_dim,
        alpha=alpha,
        sharpness=schedule(sharpness),
        slab=schedule(slab),
        relaxed=relaxed,
    )
    encoder, decoder = networks.build(network, shape, bottleneck.width, p.width(shape[-1]))
    model = autoencoder(encoder, bottleneck, decoder, p, shape, prior=p_z)
    groups = ("encoder", "decoder", *(("prior",) if p_z else ()))
    terms = [losses.nll(), losses.kl(), *([losses.spike(alpha)] if p_z else [])]
    return Family(model, chain(*terms), assign({"vae": groups}, players))


def sparse_decoder(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 5,
    columns: Any = "normal",
    encoder: Mapping[str, Any] | None = None,
    decoder: Mapping[str, Any] | None = None,
    lasso: Mapping[str, Any] | None = None,
    kernel_variance: float = 0.05,
    closed_form: bool = True,
    examples: int = 0,
) -> Family:
    """Sparse decoding (2110.10804): `vae` minimises nll + kl + ridge, `selector` nll + ssl.

    Player `columns`, who owns what the likelihood knows of a column beside its location, minimises
    nll or, if real numbers, moves by `lasso.residual_variance`. `columns` is one of
    `models.sparse_decoder.COLUMNS`; `encoder`, `decoder` and `lasso` are arguments of the MLP, of
    `networks.columns` and of `lasso.SpikeAndSlabLasso`, `kernel_variance` that of `losses.ridge`.
    In `closed_form` EM moves the selector's θ, otherwise its optimizer.
    """
    if len(shape) != 1:
        raise ValueError(f"sparse_decoder takes vectors of shape (D,), found {tuple(shape)}")
    kind, bottleneck = columns_of(columns), bottlenecks.gaussian(latent_dim)
    mlp = {"kind": "mlp", "hidden": (50, 50), **(encoder or {})}
    encode, _ = networks.build(mlp, shape, bottleneck.width, 1)
    decode = call(networks.columns, "decoder", shape[0], **(decoder or {}))
    model = models.sparse_decoder(encode, bottleneck, decode, kind, shape)
    prior = call(SpikeAndSlabLasso, "lasso", **(lasso or {}))
    owners = {"vae": ("encoder", "decoder"), "selector": ("selector",), "columns": ("columns",)}
    table = assign(owners, players)
    if closed_form:
        row = table["selector"]
        table["selector"] = row._replace(tx=closed_form_inclusion(prior, row.tx))
    ridge = losses.ridge(("decoder",), examples, kernel_variance)
    terms = chain(losses.nll(), losses.kl(), losses.ssl(prior, examples), ridge)
    return Family(model, terms, table)


FAMILIES: dict[str, Callable[..., Family]] = {
    "beta_tcvae": beta_tcvae,
    "beta_vae": beta_vae,
    "cvae": cvae,
    "dip_vae": dip_vae,
    "factor_vae": factor_vae,
    "geco_vae": geco_vae,
    "info_vae": info_vae,
    "iwae": iwae,
    "sigma_vae": sigma_vae,
    "sparse_decoder": sparse_decoder,
    "sparse_vae": sparse_vae,
    "vae_gan": vae_gan,
    "vqvae": vqvae,
}


def build(
    name: str,
    shape: Sequence[int],
    players: Players,
    options: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> Family:
    """A family by its name.

    Args:
      name: of the family.
      shape: of one event.
      players: what each player minimises, and by which optimizer.
      options: the family's keyword arguments.
      facts: what is known of the data (`examples`, `classes`, ...); a family that has an argument
        of this name gets it, unless `options` say otherwise.

    Raises:
      ValueError: an unknown family, option or player.
    """
    if name not in FAMILIES:
        raise ValueError(f"unknown family {near_names(name, FAMILIES)}")
    wanted = inspect.signature(FAMILIES[name]).parameters
    known = {k: v for k, v in facts.items() if k in wanted}
    return call(FAMILIES[name], f"family {name!r}", shape, players, **{**known, **options})

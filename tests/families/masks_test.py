"""A masked sequence of length 40, padded to 100, trains like the sequence without padding.

One row for each family and network that takes sequences, signals or tokens: its losses, metrics,
gradient (one step of gradient descent) and updates of codebooks are those of the unpadded data.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.families.masked import SGD, VAE, some
from tests.random_params import random_state
from vaejax import families
from vaejax.core.token_layout import CodeMap, Layout
from vaejax.distributions import kl
from vaejax.optimizers import ema_codebook
from vaejax.training.train_step import init_state, make_step

LENGTH, PADDED, TOKENS = 40, 100, 5
KEY = jax.random.key(0)
NETWORK = {"kind": "residual_1d", "hidden": 6, "blocks": 1, "block_hidden": 4, "groups": 2}
VQ = {"nll": 1.0, "vq": 0.25}


def event(name, shape, rows=1):
    random = np.random.RandomState(0)
    if name == "tokens":
        return {name: random.randint(0, TOKENS, (rows, *shape)).astype(np.int32)}
    return {name: random.uniform(0, 1, (rows, *shape)).astype(np.float32)}


def padded(batch):
    """The batch with garbage after the end, and its mask."""
    ((name, x),) = batch.items()
    other = (x[:, :1] + 1) % TOKENS if name == "tokens" else 7.0 + x[:, :1]
    x = np.concatenate([x, np.repeat(other, PADDED - LENGTH, axis=1)], axis=1)
    mask = np.broadcast_to(np.arange(PADDED) < LENGTH, (len(x), PADDED))
    if name == "image":
        mask = np.repeat(mask[..., None], x.shape[2], axis=2)
    return {name: x, "mask": mask}


def sequence(kind, belief, **options):
    return lambda length: getattr(families, kind)(
        (length, 3), VAE, latent_dims=(2, 3), belief=belief, features=4,
        network={"kind": "mlp", "hidden": (5,)}, hidden=(4,), **options,
    )  # fmt: skip


def vq_vae(quantizer, codebook=None, minimizes=VQ, **options):
    players = {"vae": (minimizes, SGD)}
    if codebook is not None:
        players["codebook"] = ({"vq": 1.0} if "vq" in minimizes else minimizes, codebook)
    return lambda length: families.vqvae(
        (length, 2), players, quantizer=quantizer, network=NETWORK, **options
    )


def images(length):
    players = {"vae": (VQ, SGD), "codebook": ({"vq": 1.0}, EMA)}
    network = {**NETWORK, "kind": "residual"}
    return families.vqvae((length, 4, 2), players, quantizer=VECTOR, network=network)


def text(length):
    players = {"vae": (VQ, SGD), "codebook": ({"vq": 1.0}, SGD)}
    quantizer = {"kind": "vector", "codes": 6, "dim": 3}
    network = {**NETWORK, "embedding": 3}
    return families.vqvae(
        (length,), players, quantizer=quantizer, network=network, likelihood="categorical",
        tokens=TOKENS,
    )  # fmt: skip


def prior(length):
    layout = Layout((CodeMap((length,), (), TOKENS),))
    network = {"kind": "transformer", "layers": 1, "width": 8, "heads": 2}
    players = {"prior": ({"nll": 1.0}, SGD)}
    return families.code_prior((length,), players, layout=layout, network=network)


VECTOR = {"kind": "vector", "codes": 6, "dim": 3}
RESIDUAL = {"kind": "residual", "quantizer": VECTOR, "levels": 2}
EMA = ema_codebook.ema_codebook(revive_below=0.5)
ROWS = {
    "td_vae_lstm": (sequence("td_vae", {"kind": "lstm", "size": 4}, num_pairs=2), "sequence"),
    "td_vae_transformer": (
        sequence("td_vae", {"kind": "transformer", "size": 4, "layers": 1, "heads": 2}),
        "sequence",
    ),
    "state_space_gru": (sequence("state_space", {"kind": "gru", "size": 4}), "sequence"),
    "vqvae_ema": (vq_vae(VECTOR, EMA), "signal"),
    "vqvae_text": (text, "tokens"),
    "residual": (
        vq_vae(RESIDUAL, EMA, likelihood={"kind": "normal", "scale": "learned"}),
        "signal",
    ),
    "fsq": (vq_vae({"kind": "finite_scalar", "levels": (3, 4)}, minimizes={"nll": 1.0}), "signal"),
    "lfq": (
        vq_vae(
            {"kind": "lookup_free", "bits": 3},
            minimizes={**VQ, "token_entropy": 0.1, "usage_entropy": -0.1},
            entropies={},
        ),
        "signal",
    ),
    "gumbel": (
        vq_vae({"kind": "gumbel_softmax", "codes": 6, "dim": 3}, SGD, {"nll": 1.0, "kl": 1.0}),
        "signal",
    ),
    "images": (images, "image"),
    "beta_vae": (
        lambda length: families.beta_vae((length, 2), VAE, latent_dim=3, network=NETWORK),
        "signal",
    ),
    "code_prior": (prior, "tokens"),
}
SHAPES = {
    "sequence": (LENGTH, 3),
    "signal": (LENGTH, 2),
    "tokens": (LENGTH,),
    "image": (LENGTH, 4, 2),
}
SLOW = (
    "state_space_gru",
    "td_vae_transformer",
    "td_vae_lstm",
    "fsq",
    "residual",
    "lfq",
    "gumbel",
    "images",
    "vqvae_text",
)


def assert_close(actual, desired, scale=1.0):
    """Within 1e-6 of the largest number of each array, or of the scale if that is larger."""
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(desired), strict=True
    ):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        atol = 1e-6 * max(scale, float(np.abs(b).max(initial=0.0)))
        np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=str(path))


@pytest.mark.parametrize("name", some(ROWS, slow=SLOW))
def test_padding_changes_neither_losses_nor_gradients_nor_codebooks(name):
    make, field = ROWS[name]
    batch = event(field, SHAPES[field])
    state = random_state(make(LENGTH), batch)
    step = jax.jit(make_step(make(LENGTH)))
    step_padded = jax.jit(make_step(make(PADDED)))
    after, metrics, _ = step(state, batch, 0)
    after_padded, metrics_padded, _ = step_padded(state, padded(batch), 0)
    assert_close(metrics_padded, metrics)
    # Steps of gradient descent with the rate 1: in units of the length of the gradient.
    assert_close(after_padded.params, after.params, scale=float(metrics["grad_norm"]))
    assert_close(after_padded.opt_state, after.opt_state)
    assert metrics["grad_norm"] > 1e-2


def test_a_codebook_does_not_start_at_padding():
    family, batch = vq_vae(VECTOR, EMA)(PADDED), padded(event("signal", (LENGTH, 2)))
    other = {**batch, "signal": np.where(batch["mask"][..., None], batch["signal"], -5.0)}
    params = jax.jit(lambda batch: init_state(family, 0, batch).params)
    got, want = params(batch), params(other)
    jax.tree.map(np.testing.assert_array_equal, got, want)

    @jax.jit
    def codes(params, batch):
        (node,) = family.model.encode(params, batch, None)
        return node.posterior.indices[0], node.posterior.features[0]

    indices, features = codes(got, batch)
    assert (np.asarray(indices[: LENGTH // 4]) >= 0).all()
    assert (np.asarray(indices[LENGTH // 4 :]) == -1).all()
    # No centre of k-means is at the zeros of padding: each is within the range of present tokens.
    low, high = (f(features[: LENGTH // 4], axis=0) for f in (np.min, np.max))
    assert (got["codebook"] >= low[None] - 1e-6).all()
    assert (got["codebook"] <= high[None] + 1e-6).all()
    assert (np.linalg.norm(got["codebook"], axis=1) > 1e-3).all()


def test_a_missing_frame_adds_neither_nll_nor_kl_and_z_follows_the_transition():
    family = sequence("state_space", {"kind": "gru", "size": 4})(6)
    x = jax.random.normal(jax.random.key(2), (2, 6, 3))
    mask = jnp.array([[1, 1, 0, 1, 1, 1], [0, 1, 1, 0, 1, 0]], bool)
    params = random_state(family, {"sequence": x}).params

    @jax.jit
    def run(x):
        trace = family.model.forward(params, {"sequence": x, "mask": mask}, KEY, None)
        kls = [kl(*node).sum(axis=2) for node in trace.latents]
        return trace.likelihood.log_prob(trace.x).sum(axis=2), sum(kls), trace.latents

    nll, divergence, nodes = run(x)
    assert (np.asarray(nll)[~mask] == 0.0).all()
    assert (np.asarray(divergence)[~mask] == 0.0).all()
    assert (np.asarray(nll)[mask] != 0.0).all()
    assert (np.asarray(divergence)[mask] > 0.0).all()
    z = np.concatenate([node.z for node in nodes], axis=2)
    assert not np.array_equal(z[0, 2], z[0, 1])  # a frame follows
    np.testing.assert_array_equal(z[1, 5], z[1, 4])  # none does
    other = run(jnp.where(mask[..., None], x, 9.0))
    jax.tree.map(np.testing.assert_array_equal, (nll, divergence, nodes), other)

"""Freezing of players, against the code of VAE-GAN's authors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax.optimizers import build, freeze_when_ahead

KEY = jax.random.key(0)


def frozen_by_the_authors_code(real, fake, equilibrium, margin):
    """Whether (decoder, discriminator) are frozen, transcribed from the authors' code."""
    decoder, discriminator = True, True
    if real < equilibrium - margin or fake < equilibrium - margin:
        discriminator = False
    if real > equilibrium + margin or fake > equilibrium + margin:
        decoder = False
    if not (decoder or discriminator):
        decoder = discriminator = True
    return not decoder, not discriminator


@pytest.mark.parametrize("player", ["decoder", "discriminator"])
def test_a_player_too_far_ahead_and_its_optimizer_are_frozen(player):
    """Parameters and state are those of a run without the skipped steps."""
    inner = optax.adam(0.1)
    tx = freeze_when_ahead.freeze_when_ahead(
        inner, "high" if player == "decoder" else "low", margin=0.3
    )
    rng = np.random.RandomState(0)
    params = want = {"a": jnp.ones(3), "b": jnp.zeros((2, 2))}
    state, want_state = tx.init(params), inner.init(params)
    outcomes = set()
    for _ in range(40):
        named = {name: jnp.asarray(rng.rand() + 0.4 * rng.rand(4), jnp.float32)
                 for name in ("gan_real", "gan_fake", "nll")}  # fmt: skip
        grads = jax.tree.map(lambda a: jnp.asarray(rng.randn(*a.shape), jnp.float32), params)
        frozen = frozen_by_the_authors_code(
            *(float(named[name].mean()) for name in ("gan_real", "gan_fake")), 0.68, 0.3
        )[player == "discriminator"]
        with jax.numpy_dtype_promotion("standard"):
            updates, state = tx.update(grads, state, params, losses=named, key=KEY, trace=None)
            if not frozen:
                change, want_state = inner.update(grads, want_state, want)
                want = optax.apply_updates(want, change)
        params = optax.apply_updates(params, updates)
        jax.tree.map(np.testing.assert_array_equal, (params, state), (want, want_state))
        outcomes.add(frozen)
    assert outcomes == {True, False}


def test_freezing_refuses_unknown_names():
    with pytest.raises(ValueError, match=r"freezes when losses are 'lo' \(known: high, low\)"):
        freeze_when_ahead.freeze_when_ahead(optax.sgd(0.1), "lo")
    tx = freeze_when_ahead.freeze_when_ahead(optax.sgd(0.1), "low", losses=("gan_reel",))
    with pytest.raises(ValueError, match=r"'gan_reel'.*did you mean 'gan_real'"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), losses={"gan_real": jnp.ones(3)})
    row = {"minimizes": {"gan": 1.0}, "learning_rate": 0.1, "freeze": {"wen": "low"}}
    with pytest.raises(ValueError, match=r"'freeze' has no setting 'wen'.*did you mean 'when'"):
        build.players({"discriminator": row})

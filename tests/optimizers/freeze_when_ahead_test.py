"""Who waits in a game, against the code of VAE-GAN's authors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax.optimizers import build, freeze_when_ahead

KEY = jax.random.key(0)


def waits_by_the_authors_code(real, fake, equilibrium, margin):
    """Who waits, transcribed: (decoder, critic)."""
    decoder, critic = True, True
    if real < equilibrium - margin or fake < equilibrium - margin:
        critic = False
    if real > equilibrium + margin or fake > equilibrium + margin:
        decoder = False
    if not (decoder or critic):
        decoder = critic = True
    return not decoder, not critic


@pytest.mark.parametrize("who", ["decoder", "critic"])
def test_a_player_too_far_ahead_waits_and_its_optimizer_with_it(who):
    """It goes on as if the steps it missed had never been."""
    inner = optax.adam(0.1)
    tx = freeze_when_ahead.freeze_when_ahead(
        inner, "high" if who == "decoder" else "low", margin=0.3
    )
    draw = np.random.RandomState(0)
    params = want = {"a": jnp.ones(3), "b": jnp.zeros((2, 2))}
    state, want_state = tx.init(params), inner.init(params)
    seen = set()
    for _ in range(40):
        named = {name: jnp.asarray(draw.rand() + 0.4 * draw.rand(4), jnp.float32)
                 for name in ("gan_real", "gan_fake", "nll")}  # fmt: skip
        grads = jax.tree.map(lambda a: jnp.asarray(draw.randn(*a.shape), jnp.float32), params)
        waits = waits_by_the_authors_code(
            *(float(named[name].mean()) for name in ("gan_real", "gan_fake")), 0.68, 0.3
        )[who == "critic"]
        with jax.numpy_dtype_promotion("standard"):
            updates, state = tx.update(grads, state, params, losses=named, key=KEY, trace=None)
            if not waits:
                change, want_state = inner.update(grads, want_state, want)
                want = optax.apply_updates(want, change)
        params = optax.apply_updates(params, updates)
        jax.tree.map(np.testing.assert_array_equal, (params, state), (want, want_state))
        seen.add(waits)
    assert seen == {True, False}


def test_freezing_refuses_unknown_names():
    with pytest.raises(ValueError, match=r"freezes when losses are 'lo' \(known: high, low\)"):
        freeze_when_ahead.freeze_when_ahead(optax.sgd(0.1), "lo")
    tx = freeze_when_ahead.freeze_when_ahead(optax.sgd(0.1), "low", losses=("gan_reel",))
    with pytest.raises(ValueError, match=r"'gan_reel'.*did you mean 'gan_real'"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), losses={"gan_real": jnp.ones(3)})
    row = {"minimizes": {"gan": 1.0}, "learning_rate": 0.1, "freeze": {"wen": "low"}}
    with pytest.raises(ValueError, match=r"'freeze' has no setting 'wen'.*did you mean 'when'"):
        build.players({"critic": row})

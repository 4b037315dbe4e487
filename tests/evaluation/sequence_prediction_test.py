"""Predictions of a model of sequences that counts: z is the time, and x shows it."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import image

from vaejax.core.game import Family, Model
from vaejax.data import from_arrays
from vaejax.distributions import Normal
from vaejax.evaluation.sequence_prediction import futures, given_of, horizon_errors, jumps
from vaejax.models.sequence_model import Draws, SequenceModel
from vaejax.visualization.sequence_prediction import draw_futures, draw_horizons

KEY = jax.random.key(0)
RATE = 0.02  # brightness a step


def counting(longest=4, bias=0.0, shape=()):
    """Beliefs are the last frame's value; a jump adds δ steps; a draw is exact up to a bias."""

    def draw(z, key):
        del key
        return Draws((Normal(z, jnp.ones_like(z)),), (z,))

    def jump(params, zs, delta, key, temperature=1.0):
        moved = zs[0] + RATE * delta[:, None].astype(jnp.float32)
        return draw(jnp.where(delta[:, None] > 1, moved + bias, moved), key)

    def rollout(params, zs, deltas, key, temperature=1.0):
        steps = jnp.cumsum(deltas)[:, None, None].astype(jnp.float32)
        return (zs[0][None] + RATE * steps,)

    def beliefs(params, x):
        return x.reshape(*x.shape[:2], -1)[..., :1]

    def decode(params, zs, condition=None):
        loc = jnp.broadcast_to(zs[0].reshape(-1, *(1,) * max(1, len(shape))), (len(zs[0]), *shape))
        return Normal(loc, jnp.ones_like(loc))

    ask = SequenceModel(
        beliefs, None, None, lambda params, b, key, temperature=1.0: draw(b, key), jump, rollout,
        None, longest,
    )  # fmt: skip
    return Model(None, None, None, decode, None, sequences=ask)


def films(n=7, length=12, shape=(4, 4, 1)):
    start = np.linspace(0.0, 0.5, n)[:, None] + RATE * np.arange(length)[None]
    lead = start.reshape(n, length, *(1,) * len(shape))
    return np.broadcast_to(lead, (n, length, *shape)).astype(np.float32)


def test_futures_and_jumps_line_up_with_the_frames():
    x, model = jnp.asarray(films()), counting(shape=(4, 4, 1))
    found = jax.jit(lambda x: futures(model, {}, x, 3, 2, KEY))(x[:, :9])
    assert found.past.shape == (2, 7, 9, 4, 4, 1)
    np.testing.assert_allclose(found.past[1], x[:, :9], atol=1e-6)
    np.testing.assert_allclose(found.ahead[0], x[:, 9:], atol=1e-6)
    landed = jax.jit(lambda x: jumps(model, {}, x, jnp.array([1, 3]), 2, KEY))(x[:, :9])
    np.testing.assert_allclose(landed[0], x[:, np.array([9, 11])], atol=1e-6)


def test_errors_by_horizon(tmp_path):
    source = from_arrays({"sequence": films(30)}, "eval", name="films", holdout=0.5)
    assert given_of(12) == 9
    model = counting(longest=2, bias=0.1, shape=(4, 4, 1))
    found = horizon_errors(model, {}, source, KEY, draws=2, batch_size=4)
    assert found.keys() == {
        *(f"mse_{k}/{h}" for k in ("ahead", "still") for h in (1, 2, 3)), "mse_jump/1", "mse_jump/2"
    }  # fmt: skip
    for h in (1, 2, 3):
        np.testing.assert_allclose(found[f"mse_ahead/{h}"], 0.0, atol=1e-10)
        np.testing.assert_allclose(found[f"mse_still/{h}"], (RATE * h) ** 2, rtol=1e-3)
    np.testing.assert_allclose(found["mse_jump/1"], 0.0, atol=1e-10)
    np.testing.assert_allclose(found["mse_jump/2"], 0.01, rtol=1e-3)
    assert draw_horizons(tmp_path / "horizons.png", {"elbo": -1.0, **found})
    assert min(image.imread(tmp_path / "horizons.png").shape[:2]) > 100
    assert not draw_horizons(tmp_path / "none.png", {"elbo": -1.0})
    assert not (tmp_path / "none.png").exists()


def test_pictures_of_films_and_of_signals(tmp_path):
    cases = {
        "rollouts.png": ({"sequence": films(20)}, (4, 4, 1)),
        "predictions.png": ({"signal": films(20, shape=(1,))}, (1,)),
    }
    for name, (arrays, shape) in cases.items():
        source = from_arrays(arrays, "eval", name="films", holdout=0.5)
        family = Family(counting(shape=shape), None, {})
        path = draw_futures(family, {}, source, tmp_path, binarize="none", seed=0)
        assert path == tmp_path / name
        assert min(image.imread(path).shape[:2]) > 100
    assert (tmp_path / "rollouts.gif").exists()

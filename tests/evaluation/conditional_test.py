"""Conditional models against quadrature and closed forms; grids that change one thing alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from vaejax import families
from vaejax.core import game
from vaejax.core.events import event
from vaejax.core.game import Family, Latent, Model, Trace
from vaejax.data.quadrants import with_quadrants
from vaejax.data.readers.npz import from_arrays
from vaejax.distributions import Normal
from vaejax.evaluation import conditional
from vaejax.evaluation.likelihood import importance_sampled
from vaejax.visualization import conditional as pictures

SHAPE, CLASSES = (4, 4, 1), 3
MLP = {"kind": "mlp", "hidden": (8,)}
RNG = np.random.RandomState(0)
PIXELS = RNG.randint(0, 256, (23, 4, 4)).astype(np.uint8)
LABEL = np.array([0, 2] * 11 + [0])  # nobody is of class 1
PLAYERS = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.sgd(0.1))}


def source():
    whole = from_arrays({"image": PIXELS, "label": LABEL}, holdout=0)
    return dataclasses.replace(whole, num_classes=CLASSES)


def cvae(data, **options):
    """A family with one latent and its parameters, far from where it started."""
    options = {"latent_dim": 1, "network": MLP, "prior_network": MLP, **options}
    family = families.cvae(SHAPE, PLAYERS, classes=CLASSES, **options)
    batch = pictures.examples(data, 4)
    params = jax.jit(lambda: game.init(family, jax.random.key(0), batch))()
    noise = np.random.RandomState(1)
    return family, jax.tree.map(
        lambda a: a + 0.3 * noise.randn(*a.shape).astype(np.float32), params
    )


def dense(p, *inputs):
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), p)
    x = np.concatenate([a.reshape(len(a), -1) for a in inputs], axis=1)
    x = np.maximum(x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"], 0)
    return x @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"]


def log_likelihood(logits, x):
    """log p(x | z, c) `[B]` of coin tosses."""
    return -(np.logaddexp(0, logits) - x.reshape(len(x), -1) * logits).sum(axis=1)


def gaussian(features):
    loc, log_variance = np.split(features, 2, axis=1)
    return loc[:, 0], np.exp(log_variance[:, 0] / 2)


@pytest.mark.parametrize("asked", ["all", "three quadrants"])
def test_conditional_nll_by_quadrature_over_one_latent(asked):
    data = source()
    if asked == "all":
        family, params = cvae(data)
        x, c, mask = PIXELS / 255, np.eye(CLASSES)[LABEL], np.ones((23, 16))
    else:
        data = with_quadrants(data, 1)
        family, params = cvae(data, condition="condition")
        x, mask = PIXELS / 255, np.ones((4, 4))
        mask[2:, :2] = 0
        c = np.where(mask == 1, -1.0, x)
        mask = np.broadcast_to(mask.reshape(1, 16), (23, 16))
    # A posterior wider than the prior, so that the weights have a variance.
    bias = params["encoder"]["Dense_1"]["bias"]
    params["encoder"]["Dense_1"]["bias"] = bias + jnp.asarray([0.0, 1.5])
    q_loc, q_scale = gaussian(dense(params["encoder"], x, c))
    p_loc, p_scale = gaussian(dense(params["prior"], c))

    def log_p(z):
        logits = dense(params["decoder"], z[:, None], c)
        return -((np.logaddexp(0, logits) - x.reshape(23, 16) * logits) * mask).sum(axis=1)

    # Moments of the weights under q, on a grid far finer and wider than anything here is.
    grid = np.linspace(-8, 8, 8001)
    density = (scipy.stats.norm.pdf(grid) * (grid[1] - grid[0]))[:, None]
    log_w = np.stack([
        log_p(z := q_loc + q_scale * t)
        + scipy.stats.norm.logpdf(z, p_loc, p_scale) - scipy.stats.norm.logpdf(z, q_loc, q_scale)
        for t in grid
    ])  # fmt: skip
    particles = 2000
    got = conditional.conditional_nll(family, params, data, particles=particles, batch_size=8)

    mean = (log_w * density).sum(axis=0)
    variance = ((log_w - mean) ** 2 * density).sum(axis=0)
    error = np.sqrt(variance.sum() / particles) / 23
    assert abs(got["conditional_nll/recognition"] + mean.mean()) < 4 * error

    evidence = (np.exp(log_w) * density).sum(axis=0)  # p(x | c), whatever q is
    at_prior = np.stack([np.exp(log_p(p_loc + p_scale * t)) for t in grid])
    np.testing.assert_allclose(evidence, (at_prior * density).sum(axis=0), rtol=1e-6)
    spread = (np.exp(2 * log_w) * density).sum(axis=0) / evidence**2 - 1
    bias, error = spread.mean() / (2 * particles), np.sqrt(spread.sum() / particles) / 23
    gap = got["conditional_nll/importance"] + np.log(evidence).mean()
    assert abs(gap - bias) < 4 * error
    assert error < 0.01 * (variance.mean() + 1)  # or the test would say nothing

    # The general estimate of the library, of other draws.
    other = importance_sampled(family, data, params, samples=particles, batch_size=8)
    assert abs(np.log(evidence).mean() - other - bias) < 4 * error

    few = conditional.conditional_nll(family, params, data, particles=1, batch_size=8, limit=5)
    one, other = few.values()
    np.testing.assert_allclose(one, other, rtol=1e-6)  # one particle is no average


def test_elbo_of_each_class_by_a_closed_form():
    """A decoder that does not look at z leaves nothing random in the ELBO."""
    data = source()
    family, params = cvae(data)
    kernel = np.asarray(params["decoder"]["Dense_0"]["kernel"]).copy()
    kernel[0] = 0.0  # the weights of z
    params["decoder"]["Dense_0"]["kernel"] = jnp.asarray(kernel)
    x, c = PIXELS / 255, np.eye(CLASSES)[LABEL]
    log_p = log_likelihood(dense(params["decoder"], np.zeros((23, 1)), c), x)
    (m, s), (n, t) = gaussian(dense(params["encoder"], x, c)), gaussian(dense(params["prior"], c))
    elbo = log_p - (np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5)
    got = conditional.per_class(family, params, data, batch_size=8)
    assert set(got) == {"elbo/class_0", "elbo/class_2"}  # nobody is of class 1
    for k in (0, 2):
        np.testing.assert_allclose(got[f"elbo/class_{k}"], elbo[k == LABEL].mean(), rtol=1e-5)
    with pytest.raises(ValueError, match="no classes to tell apart"):
        conditional.per_class(family, params, from_arrays(PIXELS, holdout=0))


def transparent():
    """A model whose decoder mean is (z, condition) side by side, `[B, 2 + 1]`."""

    def encode(params, batch, key):
        x, c = event(batch), batch["condition"]
        prior = Normal(jnp.concatenate([10 * c, -c], axis=1), jnp.ones((len(x), 2)))
        posterior = Normal(x, jnp.ones_like(x))
        return (Latent(posterior, prior, posterior.sample(key)),)

    def decode(params, zs, condition):
        mean = jnp.concatenate([zs[0], condition["condition"]], axis=1)
        return Normal(mean, jnp.ones_like(mean))

    def generate(params, key, n, condition, temperature):
        z = encode(params, {"vector": jnp.zeros((n, 2)), **condition}, key)[0].prior
        return decode(params, (z.mean + temperature * (z.sample(key) - z.mean),), condition)

    def forward(params, batch, key, step):
        nodes = encode(params, batch, key)
        p = decode(params, (nodes[0].z,), batch)
        return Trace(event(batch), p, nodes, condition=batch["condition"])

    model = Model(lambda key, batch: {}, forward, encode, decode, generate)
    return Family(model, game.chain(), {})


VECTORS = {
    "vector": jnp.asarray(RNG.randn(3, 2), jnp.float32),
    "condition": jnp.asarray([[1.0], [2.0], [3.0]]),
}


def test_vary_condition_changes_nothing_else():
    given = {"vector": VECTORS["vector"][:2] + 5, "condition": jnp.asarray([[7.0], [8.0]])}
    sheet = np.asarray(conditional.vary_condition(transparent(), {}, VECTORS, given))
    assert sheet.shape == (3, 2, 3)
    for i in range(3):  # the row's own z, its posterior mean, in every column
        np.testing.assert_array_equal(sheet[i, :, :2], np.tile(VECTORS["vector"][i], (2, 1)))
        np.testing.assert_array_equal(sheet[i, :, 2], [7.0, 8.0])


def test_vary_latent_changes_nothing_else_and_walks_from_draw_to_draw():
    family, key = transparent(), jax.random.key(1)
    sheet = np.asarray(conditional.vary_latent(family, {}, VECTORS, key, 5), np.float64)
    assert sheet.shape == (3, 5, 3)
    prior_mean = np.array([[10, -1], [20, -2], [30, -3]])
    away = sheet[..., :2] - prior_mean[:, None]
    for i in range(3):
        np.testing.assert_array_equal(sheet[i, :, 2], i + 1)  # the row's own condition
        start, end = away[i, 0], away[i, -1]
        for j, angle in enumerate(np.linspace(0, np.pi / 2, 5)):
            want = np.cos(angle) * start + np.sin(angle) * end
            np.testing.assert_allclose(away[i, j], want, atol=1e-5)
    assert len(np.unique(sheet[..., 0])) == 15


def test_every_point_of_a_walk_is_distributed_as_the_prior():
    n = 4000
    batch = {"vector": jnp.zeros((n, 2)), "condition": jnp.ones((n, 1))}
    sheet = conditional.vary_latent(transparent(), {}, batch, jax.random.key(2), 3)
    for j in range(3):
        z = np.asarray(sheet[:, j, 0])
        assert scipy.stats.kstest(z, scipy.stats.norm(10, 1).cdf).pvalue > 1e-4


def test_samples_of_a_row_share_their_condition_and_differ_in_z():
    given = {"condition": VECTORS["condition"]}
    sheet = conditional.sample_given(transparent(), {}, given, jax.random.key(0), 4)
    np.testing.assert_array_equal(sheet[..., 2], np.tile([[1.0], [2.0], [3.0]], (1, 4)))
    assert len(np.unique(sheet[..., 0])) == 12
    cold = conditional.sample_given(transparent(), {}, given, jax.random.key(0), 4, 0.0)
    np.testing.assert_array_equal(cold[..., 0], np.tile([[10.0], [20.0], [30.0]], (1, 4)))


def test_which_conditions_are_shown():
    label = np.arange(40) % 3
    batch = {"image": np.zeros((40, 2, 2, 1)), "label": label}
    show = pictures.conditions_to_show
    rows, classes = show(np.eye(3)[label], batch, 3)
    np.testing.assert_array_equal(classes, [0, 1, 2])
    np.testing.assert_array_equal(rows["label"], [0, 1, 2])
    assert len(rows["image"]) == 3
    _, classes = show(np.eye(100)[label], batch, 100)  # ten of the hundred
    np.testing.assert_array_equal(classes, np.linspace(0, 99, 10).round())
    rows, classes = show(np.eye(3)[(label + 1) % 3], batch, 3)  # something else of that shape
    assert classes is None
    np.testing.assert_array_equal(rows["label"], label[np.linspace(0, 39, 10).astype(int)])


NAMES = {"conditional_samples.png", "vary_condition.png", "vary_latent.png"}


def test_pictures_of_class_conditional_and_of_inpainting_models(tmp_path):
    for name, data, options in [
        ("class", source(), {}),
        ("parts", with_quadrants(source(), 2), {"condition": "condition"}),
    ]:
        family, params = cvae(data, **options)
        (tmp_path / name).mkdir()
        pictures.draw_conditional(family, params, data, tmp_path / name)
        assert {p.name for p in (tmp_path / name).iterdir()} == NAMES
        assert conditional.is_conditional(family, params, data)
        given = pictures.given_by_examples(family, params, data, 5)
        np.testing.assert_array_equal(given["label"], LABEL[[0, 5, 11, 16, 22]])
    family = families.beta_vae(SHAPE, PLAYERS, latent_dim=1, network=MLP)
    batch = {"image": jnp.zeros((2, *SHAPE))}
    params = jax.jit(lambda: game.init(family, jax.random.key(0), batch))()
    (tmp_path / "none").mkdir()
    pictures.draw_conditional(family, params, source(), tmp_path / "none")
    assert not list((tmp_path / "none").iterdir())
    assert not conditional.is_conditional(family, params, source())
    assert pictures.given_by_examples(family, params, source(), 5) is None

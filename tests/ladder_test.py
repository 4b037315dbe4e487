"""Ladders: exact answers on a linear-Gaussian hierarchy, what depends on what, loops."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import families, likelihoods, losses
from vaejax.distributions import Normal
from vaejax.evaluation.likelihood import log_likelihood
from vaejax.game import chain
from vaejax.models import Stage, ladder
from vaejax.models.ladder import LOWEST_SCALE, MERGES, gaussian
from vaejax.networks import Network

KEY = jax.random.key(0)
A, S1, B, S = 0.8, 0.6, np.array([1.5, -0.7]), 0.5  # z1 = A z2 + S1 ε, x = B z1 + S ε


def feature(scale):
    """What `gaussian` makes this standard deviation of."""
    wanted = (scale - LOWEST_SCALE) / (1 - LOWEST_SCALE)
    return float(np.log2(2.0**wanted - 1.0))


def constant(apply):
    return Network(lambda key, *inputs: {}, lambda params, *inputs: apply(*inputs))


def linear_gaussian():
    """z2 ~ N(0, 1), z1 ~ N(A z2, S1²), x ~ N(B z1, S²), with posteriors that could be exact.

    q(z2 | x) is linear in x; of z1, what x says of it is joined with p(z1 | z2) by precisions.
    """

    def features(loc, scale):
        return jnp.concatenate([loc, jnp.full_like(loc, feature(scale))], axis=1)

    def init(key, h, seen):
        return {"w": jnp.zeros((2, 1)), "scale": jnp.zeros((1,))}

    def see(params, h, seen):
        loc = seen @ params["w"]
        return jnp.concatenate([loc, jnp.broadcast_to(params["scale"][None], loc.shape)], axis=1)

    step = constant(lambda h, more, z: z)
    posterior = Network(init, see)
    unit = constant(lambda h: features(jnp.zeros_like(h), 1.0))
    given = constant(lambda h: features(A * h, S1))
    same = constant(lambda h: h)
    stages = [
        Stage(1, same, unit, posterior, step, "alone"),
        Stage(1, same, given, posterior, step, "precision"),
    ]
    output = constant(lambda h: h * jnp.asarray(B, jnp.float32)[None])
    up = constant(lambda x: (x, x))
    return ladder(up, stages, output, likelihoods.normal(S), (2,), latent_dims=(1, 1))


def with_posteriors(params, top, bottom):
    """The parameters with (w, scale) of what x says of z2 and of z1 set; of blocks, an axis [1]."""
    own = {
        name: {
            "w": jnp.asarray(w, jnp.float32).reshape(1, 2, 1),
            "scale": jnp.full((1, 1), feature(scale), jnp.float32),
        }
        for name, (w, scale) in (("stage_0", top), ("stage_1", bottom))
    }
    return {**params, "encoder": {**params["encoder"], **own}}


COVARIANCE = np.outer(B, B) * (A**2 + S1**2) + S**2 * np.eye(2)
# p(z2 | x) by conditioning a Gaussian; of z1, x alone says B·x / B·B with variance S² / B·B.
GAIN = A * np.linalg.solve(COVARIANCE, B)
EXACT = ((GAIN, np.sqrt(1 - A * GAIN @ B)), (B / (B @ B), S / np.sqrt(B @ B)))


@pytest.fixture(scope="module")
def truth():
    random = np.random.RandomState(0)
    x = random.multivariate_normal(np.zeros(2), COVARIANCE, 64)
    inverse = np.linalg.inv(COVARIANCE)
    log_p = -0.5 * np.einsum("bi,ij,bj->b", x, inverse, x)
    log_p -= 0.5 * np.log(np.linalg.det(2 * np.pi * COVARIANCE))
    model = linear_gaussian()
    x = jnp.asarray(x, jnp.float32)
    return model, model.init(KEY, {"vector": x}), x, log_p


def elbo_of(model, params, x, draws=4000):
    """The mean over many draws, of each example."""
    terms = chain(losses.nll(), losses.kl())

    def one(key):
        trace = model.forward(params, {"vector": x}, key, jnp.int32(0))
        found = terms.apply({}, {}, trace, key)
        return -(found["nll"] + found["kl"].sum(axis=1))

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, draws)), np.float64).mean(0)


def test_the_elbo_of_exact_posteriors_is_the_marginal_likelihood(truth):
    model, params, x, log_p = truth
    elbo = elbo_of(model, with_posteriors(params, *EXACT), x, draws=20_000)
    np.testing.assert_allclose(elbo, log_p, atol=0.05)
    assert abs(elbo.mean() - log_p.mean()) < 0.01


@pytest.mark.parametrize("seed", range(4))
def test_the_elbo_of_other_posteriors_is_below_it(truth, seed):
    model, params, x, log_p = truth
    random = np.random.RandomState(seed)
    other = [(w + 0.4 * random.randn(2), s * np.exp(0.5 * random.randn())) for w, s in EXACT]
    elbo = elbo_of(model, with_posteriors(params, *other), x)
    assert (elbo < log_p + 0.05).all()
    assert elbo.mean() < log_p.mean() - 0.05


def test_training_reaches_it(truth):
    """Adam on the negative ELBO, from posteriors that know nothing."""
    model, params, x, log_p = truth
    terms, tx = chain(losses.nll(), losses.kl()), optax.adam(0.03)

    def loss(params, key):
        trace = model.forward(params, {"vector": x}, key, jnp.int32(0))
        found = terms.apply({}, {}, trace, key)
        return (found["nll"] + found["kl"].sum(axis=1)).mean()

    def step(carry, key):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, key)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = tx.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    keys = jax.random.split(KEY, 1500)
    (params, _), values = jax.jit(lambda c: jax.lax.scan(step, c, keys))((params, tx.init(params)))
    assert values[0] > -log_p.mean() + 1.0
    gap = log_p.mean() - elbo_of(model, params, x).mean()
    assert -0.01 < gap < 0.05


def test_importance_sampling_goes_through_all_layers(truth):
    model, params, x, log_p = truth
    worse = [(0.8 * w, 1.3 * s) for w, s in EXACT]
    params = with_posteriors(params, *worse)
    assert log_p.mean() - elbo_of(model, params, x).mean() > 0.05
    found = log_likelihood(model, 40_000, chunk=1000)(params, {"vector": x}, KEY)
    np.testing.assert_allclose(found, log_p, atol=0.05)


def test_precisions_are_those_of_the_product_of_two_densities():
    z = np.linspace(-8, 8, 40_001)
    p, seen = ((0.5, 1.2), (-1.0, 0.7))

    def density(loc, scale):
        return np.exp(-0.5 * ((z - loc) / scale) ** 2)

    product = density(*p) * density(*seen)
    product /= product.sum()
    mean = (product * z).sum()
    deviation = np.sqrt((product * (z - mean) ** 2).sum())
    q = MERGES["precision"](*(Normal(jnp.float32(m), jnp.float32(s)) for m, s in (p, seen)))
    np.testing.assert_allclose([q.loc, q.scale], [mean, deviation], rtol=1e-5)


def test_a_feature_of_zero_is_a_deviation_of_one():
    p = gaussian(jnp.array([[0.0, 3.0, 0.0, -100.0]]))
    np.testing.assert_allclose(p.scale, [[1.0, LOWEST_SCALE]], rtol=1e-6)
    np.testing.assert_allclose(p.loc, [[0.0, 3.0]])


CONV = {"kind": "conv", "blocks": (2, 3), "halvings_before": (1, 1), "width": 8, "middle": 4}
CONV |= {"latent_dim": 3, "form": "native"}
X = jnp.asarray((np.random.RandomState(0).rand(4, 10, 8, 1) > 0.5), jnp.float32)


def deep(**options):
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(1e-3))}
    settings = {"network": CONV, "merge": "residual", **options}
    return families.hierarchical(X.shape[1:], players, **settings)


@pytest.fixture(scope="module")
def trained():
    model = deep().model
    params = jax.jit(model.init)(KEY, {"image": X})
    return model, params, jax.jit(model.forward)(params, {"image": X}, KEY, jnp.int32(0))


def test_latents_come_from_coarse_to_fine_and_give_the_likelihood(trained):
    model, params, trace = trained
    shapes = [node.z.shape for node in trace.latents]
    assert shapes == [(4, 3, 2, 3)] * 2 + [(4, 5, 4, 3)] * 3
    assert trace.likelihood.mean.shape == X.shape
    again = jax.jit(model.decode)(params, tuple(node.z for node in trace.latents))
    np.testing.assert_allclose(again.logits, trace.likelihood.logits, atol=1e-5)


def test_the_top_latents_alone_leave_the_others_to_their_priors(trained):
    model, params, trace = trained
    decode = jax.jit(model.decode)
    top = tuple(node.z for node in trace.latents[:3])
    means = decode(params, top)
    cold = decode(params, top, None, KEY, 0.0)
    np.testing.assert_allclose(means.logits, cold.logits, atol=1e-5)
    warm = [decode(params, top, None, jax.random.key(i), 1.0).logits for i in range(2)]
    assert np.abs(warm[0] - warm[1]).max() > 1e-3
    other = (top[0] + 1.0, *top[1:])
    assert np.abs(decode(params, other).logits - means.logits).max() > 1e-4


def test_each_layer_has_a_temperature(trained):
    model, params, _ = trained
    generate = jax.jit(model.generate, static_argnums=2)
    frozen = [generate(params, jax.random.key(i), 2, None, 0.0).logits for i in range(2)]
    np.testing.assert_array_equal(*frozen)
    for layer in range(5):
        warm = jnp.zeros(5).at[layer].set(1.0)
        moved = generate(params, KEY, 2, None, warm).logits
        assert np.abs(moved - frozen[0]).max() > 1e-5, layer


def test_a_loop_is_its_blocks_one_after_the_other_and_so_is_its_gradient():
    """Against the same blocks as stages of one block each, which are not in a loop."""
    family = deep()
    model = family.model
    params = jax.jit(model.init)(KEY, {"image": X})
    plain = deep(remat=False).model
    nothing = Network(lambda key, h: {}, lambda params, h: h)

    def loss(model):
        def apply(params):
            trace = model.forward(params, {"image": X}, KEY, jnp.int32(0))
            found = family.losses.apply({}, {}, trace, KEY)
            return (found["nll"] + found["kl"].sum(axis=1)).mean()

        return jax.jit(jax.value_and_grad(apply))

    value, gradient = loss(model)(params)
    value_plain, gradient_plain = loss(plain)(params)
    np.testing.assert_allclose(value, value_plain, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        gradient, gradient_plain,
    )  # fmt: skip

    from vaejax import networks

    nets = networks.conv_ladder(X.shape[1:], 1, **{k: v for k, v in CONV.items() if k != "kind"})
    stages, dims, single = [], [], {"encoder": {}, "decoder": {}}
    single["encoder"]["bottom_up"] = params["encoder"]["bottom_up"]
    single["decoder"]["output"] = params["decoder"]["output"]
    for i, stage in enumerate(nets.stages):
        for j in range(stage.blocks):
            name = f"stage_{len(stages)}"
            enter = stage.enter if j == 0 else nothing
            stages.append(Stage(1, enter, stage.prior, stage.posterior, stage.step, "residual"))
            dims.append(3)
            here = params["decoder"][f"stage_{i}"]
            pick = jax.tree.map(lambda a, j=j: a[j : j + 1], here["blocks"])
            first = here["enter"] if j == 0 else {}
            single["decoder"][name] = {"enter": first, "blocks": pick}
            up = params["encoder"][f"stage_{i}"]
            single["encoder"][name] = jax.tree.map(lambda a, j=j: a[j : j + 1], up)

    def spread(params, x):
        seen = nets.bottom_up.apply(params, x)
        return tuple(s for s, stage in zip(seen, nets.stages, strict=True)
                     for _ in range(stage.blocks))  # fmt: skip

    up = Network(nets.bottom_up.init, spread)
    p = likelihoods.bernoulli()
    flat = ladder(up, stages, nets.output, p, X.shape[1:], latent_dims=dims)
    np.testing.assert_allclose(loss(flat)(single)[0], value, rtol=1e-5)


def test_the_program_does_not_grow_with_depth():
    def size(blocks):
        model = deep(network={**CONV, "blocks": (2, blocks)}).model
        params = jax.eval_shape(model.init, KEY, {"image": X})

        def loss(params):
            trace = model.forward(params, {"image": X}, KEY, jnp.int32(0))
            return losses.nll().apply({}, {}, trace, KEY)["nll"].mean()

        return len(jax.jit(jax.grad(loss)).lower(params).as_text())

    assert size(40) < 1.1 * size(10)


def test_balancing_gives_more_weight_to_what_holds_more():
    kl = np.array([[1.0, 4.0], [3.0, 2.0]])
    nodes = tuple(
        type("Node", (), {"z": jnp.zeros((2, *shape))})() for shape in ((2, 2, 3), (4, 4, 3))
    )
    trace = type("T", (), {"latents": nodes})()

    def balanced(kl):
        before = {"kl": kl}
        return losses.kl_balancing().apply(before, {}, trace, KEY)["kl_balanced"]

    weight = np.array([12 * 2.0, 48 * 3.0])
    weight /= weight.mean()
    kl = jnp.asarray(kl, jnp.float32)
    np.testing.assert_allclose(balanced(kl), weight * np.asarray(kl), rtol=1e-6)
    gradient = jax.grad(lambda kl: balanced(kl).sum())(kl)
    np.testing.assert_allclose(gradient, np.tile(weight, (2, 1)), rtol=1e-6)


def test_mistakes_are_named(trained):
    with pytest.raises(ValueError, match=r"unknown merge of a ladder 'precise'.*'precision'"):
        deep(merge="precise")
    with pytest.raises(ValueError, match=r"blocks=\(2,\), halvings_before=\(1, 1\)"):
        deep(network={**CONV, "blocks": (2,)})
    with pytest.raises(ValueError, match=r"unknown ladder 'dens'.*'dense'"):
        deep(network="dens")
    model, params, trace = trained
    with pytest.raises(ValueError, match=r"5 latents.* found 0"):
        model.decode(params, ())
    with pytest.raises(ValueError, match=r"5 latents.* found 6"):
        model.decode(params, tuple(node.z for node in (*trace.latents, trace.latents[0])))

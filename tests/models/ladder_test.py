"""Hierarchical VAEs: dependencies between latents, loops, temperatures, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.random_params import random_params
from vaejax import families, losses, networks
from vaejax.distributions import likelihoods
from vaejax.models import Stage, ladder
from vaejax.networks import Network

KEY = jax.random.key(0)
CONV = {"kind": "conv", "blocks": (2, 3), "num_downsamples": (1, 1), "width": 8}
CONV |= {"bottleneck_channels": 4}
CONV |= {"latent_dim": 3, "implementation": "native"}
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


@pytest.mark.slow
def test_latents_are_ordered_from_coarse_to_fine_and_decode_to_the_likelihood(trained):
    model, params, trace = trained
    shapes = [node.z.shape for node in trace.latents]
    assert shapes == [(4, 3, 2, 3)] * 2 + [(4, 5, 4, 3)] * 3
    assert trace.likelihood.mean.shape == X.shape
    decoded = jax.jit(model.decode)(params, tuple(node.z for node in trace.latents))
    np.testing.assert_allclose(decoded.logits, trace.likelihood.logits, atol=1e-5)


def test_decoding_the_top_latents_samples_the_others_from_their_priors(trained):
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


@pytest.mark.slow
def test_a_stage_equals_its_blocks_as_separate_stages_in_value_and_gradient():
    """Stages of one block each do not run in a loop."""
    family = deep()
    model = family.model
    params = random_params(model.init, KEY, {"image": X})
    plain = deep(remat=False).model
    identity = Network(lambda key, h: {}, lambda params, h: h)

    def loss(model):
        def apply(params):
            trace = model.forward(params, {"image": X}, KEY, jnp.int32(0))
            values = family.losses.apply({}, {}, trace, KEY)
            return (values["nll"] + values["kl"].sum(axis=1)).mean()

        return apply

    value, gradient = jax.jit(jax.value_and_grad(loss(model)))(params)
    value_plain, gradient_plain = jax.jit(jax.value_and_grad(loss(plain)))(params)
    np.testing.assert_allclose(value, value_plain, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        gradient, gradient_plain,
    )  # fmt: skip

    nets = networks.conv_ladder(X.shape[1:], 1, **{k: v for k, v in CONV.items() if k != "kind"})
    stages, dims, single = [], [], {"encoder": {}, "decoder": {}}
    single["encoder"]["bottom_up"] = params["encoder"]["bottom_up"]
    single["decoder"]["output"] = params["decoder"]["output"]
    for i, stage in enumerate(nets.stages):
        for j in range(stage.blocks):
            name = f"stage_{len(stages)}"
            enter = stage.enter if j == 0 else identity
            stages.append(Stage(1, enter, stage.prior, stage.posterior, stage.update, "residual"))
            dims.append(3)
            group = params["decoder"][f"stage_{i}"]
            block = jax.tree.map(lambda a, j=j: a[j : j + 1], group["blocks"])
            first = group["enter"] if j == 0 else {}
            single["decoder"][name] = {"enter": first, "blocks": block}
            up = params["encoder"][f"stage_{i}"]
            single["encoder"][name] = jax.tree.map(lambda a, j=j: a[j : j + 1], up)

    def repeated(params, x):
        activations = nets.bottom_up.apply(params, x)
        return tuple(a for a, stage in zip(activations, nets.stages, strict=True)
                     for _ in range(stage.blocks))  # fmt: skip

    up = Network(nets.bottom_up.init, repeated)
    p = likelihoods.bernoulli()
    flat = ladder(up, stages, nets.output, p, X.shape[1:], latent_dims=dims)
    np.testing.assert_allclose(jax.jit(loss(flat))(single), value, rtol=1e-5)


def test_program_size_does_not_grow_with_depth():
    def size(blocks):
        model = deep(network={**CONV, "blocks": (2, blocks)}).model
        params = jax.eval_shape(model.init, KEY, {"image": X})

        def loss(params):
            trace = model.forward(params, {"image": X}, KEY, jnp.int32(0))
            return losses.nll().apply({}, {}, trace, KEY)["nll"].mean()

        return len(jax.jit(jax.grad(loss)).lower(params).as_text())

    assert size(40) < 1.1 * size(10)


def _loss(**network):
    family = deep(network={**CONV, **network})
    params = random_params(family.model.init, KEY, {"image": X})

    def loss(params):
        trace = family.model.forward(params, {"image": X}, KEY, jnp.int32(0))
        values = family.losses.apply({}, {}, trace, KEY)
        return (values["nll"] + values["kl"].sum(axis=1)).mean(), trace

    return loss, params


@pytest.mark.slow
def test_mixed_precision_keeps_parameters_and_densities_in_float32():
    loss, params = _loss()
    half, _ = _loss(dtype="bfloat16")
    (value, _), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    (close, trace), near = jax.jit(jax.value_and_grad(half, has_aux=True))(params)
    assert {a.dtype.name for a in jax.tree.leaves((near, trace.latents, trace.likelihood))} == {
        "float32"
    }
    assert 0 < abs(close - value) < 0.01 * value  # bfloat16 has 8 bits
    ratio = optax.tree.norm(optax.tree.sub(near, gradient)) / optax.tree.norm(gradient)
    assert 0 < ratio < 0.05


@pytest.mark.parametrize("precision", [pytest.param("default", marks=pytest.mark.slow), "highest"])
def test_the_precision_of_convolutions_is_an_option(precision):
    loss, params = _loss(precision=precision)
    program = jax.jit(jax.grad(loss, has_aux=True)).lower(params).as_text()
    convolutions = [line for line in program.splitlines() if "stablehlo.convolution" in line]
    assert len(convolutions) > 50  # including those of the gradient
    assert all((precision == "highest") == ("HIGHEST" in line) for line in convolutions)


def test_kl_balancing_weights_latents_by_size_and_kl():
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


def test_no_standard_deviation_is_below_min_scale(trained):
    """With parameters 30 times as large, so that some would otherwise be far below it."""
    _, params, _ = trained
    large = jax.tree.map(lambda a: 30 * a, params)

    def scales(**options):
        forward = jax.jit(deep(merge="precision", **options).model.forward)
        nodes = forward(large, {"image": X}, KEY, jnp.int32(0)).latents
        p, q = ([float(getattr(n, of).scale.min()) for n in nodes] for of in ("prior", "posterior"))
        return min(p), min(q)

    assert scales()[0] < 0.1
    p, q = scales(min_scale=0.3)
    assert 0.3 <= p < 0.4
    assert 0.3 / 2**0.5 <= q < 0.3


def test_invalid_arguments_are_reported(trained):
    with pytest.raises(ValueError, match="min_scale must be between 0 and 1, found 0"):
        deep(min_scale=0)
    with pytest.raises(ValueError, match=r"unknown merge of a ladder 'precise'.*'precision'"):
        deep(merge="precise")
    with pytest.raises(ValueError, match=r"blocks=\(2,\), num_downsamples=\(1, 1\)"):
        deep(network={**CONV, "blocks": (2,)})
    with pytest.raises(ValueError, match=r"unknown precision 'hihgest'.*'highest'"):
        deep(network={**CONV, "precision": "hihgest"})
    with pytest.raises(ValueError, match=r"unknown ladder 'dens'.*'dense'"):
        deep(network="dens")
    model, params, trace = trained
    with pytest.raises(ValueError, match=r"5 latents.* found 0"):
        model.decode(params, ())
    with pytest.raises(ValueError, match=r"5 latents.* found 6"):
        model.decode(params, tuple(node.z for node in (*trace.latents, trace.latents[0])))

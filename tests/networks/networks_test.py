"""Architectures on images of any size, by shape and value; custom modules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from vaejax import families, networks
from vaejax.training.train_step import init_state, make_step

KEY = jax.random.key(0)
IMAGES = [(28, 28), (32, 32), (64, 64), (45, 31)]
SMALL = {
    "codec": {"filters": 4, "ratios": (2, 4)},
    "latent_diffusion": {"channels": (8, 8), "blocks": 1},
    "mlp": {"hidden": (8,)},
    "conv": {"channels": (8, 8), "kernels": (4, 2), "hidden": 8},
    "tiny_autoencoder": {"channels": (8, 8), "encoder_blocks": (0, 1), "decoder_blocks": (1, 0)},
    "residual": {"hidden": 8, "blocks": 1, "block_hidden": 8},
    "residual_1d": {"hidden": 8, "blocks": 1, "block_hidden": 8},
}
OF_IMAGES = ["conv", "mlp", "residual"]


def shape_for(kind, size=16):
    return (size, 1) if kind in ("codec", "residual_1d") else (size, size, 1)


def build(kind, shape, features=6, out_channels=1, **options):
    return networks.build({"kind": kind, **SMALL[kind], **options}, shape, features, out_channels)


def outputs(encoder, decoder, x):
    """Parameters, features and output of a pair, with the features as z."""
    params = encoder.init(KEY, x)
    features = encoder.apply(params, x)
    other = decoder.init(KEY, features)
    return (params, other), features, decoder.apply(other, features)


def random_params(shapes):
    """Kernels of unit gain, biases 0, scales 1, without compiling an initialiser."""
    rng = np.random.RandomState(0)

    def leaf(path, a):
        if "kernel" not in jax.tree_util.keystr(path):
            return jnp.full(a.shape, "scale" in jax.tree_util.keystr(path), jnp.float32)
        return jnp.asarray(rng.randn(*a.shape) / np.sqrt(np.prod(a.shape[:-1])), jnp.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def abstract(pair, shape, batch=2):
    """Shapes only: nothing is computed."""
    x = jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
    return jax.eval_shape(lambda x: outputs(*pair, x), x)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", IMAGES, ids=str)
@pytest.mark.parametrize("kind", OF_IMAGES)
def test_outputs_fit_images_of_any_size(kind, size, channels):
    _, features, out = abstract(build(kind, (*size, channels), 6, 2 * channels), (*size, channels))
    inner = tuple(-(-n // 4) for n in size) if kind == "residual" else ()
    assert features.shape == (2, *inner, 6)
    assert out.shape == (2, *size, 2 * channels)


@pytest.mark.parametrize("downsamplings", [0, 1, 2, 3])
def test_residual_maps_are_halved_downsamplings_times(downsamplings):
    pair = build("residual", (45, 31, 3), downsamplings=downsamplings)
    _, features, out = abstract(pair, (45, 31, 3))
    sizes = {0: (45, 31), 1: (23, 16), 2: (12, 8), 3: (6, 4)}
    assert features.shape == (2, *sizes[downsamplings], 6)
    assert out.shape == (2, 45, 31, 1)


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 8, 8, 1)], ids=str)
def test_an_mlp_takes_events_of_any_shape(shape):
    _, features, out = abstract(build("mlp", shape, 6, shape[-1]), shape)
    assert features.shape == (2, 6)
    assert out.shape == (2, *shape)


def test_the_default_conv_is_disentanglement_libs():
    """1811.12359, table 1, for 64×64×1 and ten latents."""
    (encoder, decoder), _, _ = abstract(networks.build("conv", (64, 64, 1), 20, 1), (64, 64, 1))
    shapes = [leaf["kernel"].shape for leaf in encoder.values()]
    want = [(4, 4, 1, 32), (4, 4, 32, 32), (2, 2, 32, 64), (2, 2, 64, 64), (1024, 256), (256, 20)]
    assert sorted(shapes) == sorted(want)
    shapes = [leaf["kernel"].shape for leaf in decoder.values()]
    want = [(4, 4, 64, 64), (4, 4, 64, 32), (4, 4, 32, 32), (4, 4, 32, 1), (20, 256), (256, 1024)]
    assert sorted(shapes) == sorted(want)


@pytest.mark.parametrize("kind", ["conv", "residual", "residual_1d"])
def test_group_norm_is_an_option(kind):
    shape = shape_for(kind, 28)
    plain, _, _ = abstract(build(kind, shape), shape)
    normed, _, out = abstract(build(kind, shape, groups=4), shape)
    count = [sum("GroupNorm" in str(p) for p, _ in jax.tree.leaves_with_path(t)) for t in
             (plain, normed)]  # fmt: skip
    assert count[0] == 0
    assert count[1] > 0
    assert out.shape == (2, *shape)


def test_group_norm_makes_an_encoder_invariant_to_contrast():
    """Initial biases are 0: scaling the input scales the activations, which the norm undoes."""
    pair = build("conv", (16, 16, 1), groups=4, channels=(8,), kernels=(4,))
    encoder, x = pair[0], jax.random.normal(KEY, (2, 16, 16, 1))
    params = random_params(abstract(pair, (16, 16, 1))[0][0])
    apply = jax.jit(encoder.apply)
    np.testing.assert_allclose(apply(params, 10 * x), apply(params, x), atol=1e-3)
    assert np.abs(apply(params, x)).max() > 0.1


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.slow] * (kind == "latent_diffusion"))
        for kind in sorted(networks.ARCHITECTURES)
    ],
)
def test_outputs_are_float32_when_computing_in_bfloat16(kind):
    shape = shape_for(kind)
    narrow, wide = (build(kind, shape, dtype=dtype) for dtype in ("bfloat16", "float32"))
    shapes = abstract(narrow, shape)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.float32)}
    params, x = random_params(shapes[0]), jax.random.uniform(KEY, (2, *shape))
    for network, exact, p in zip(narrow, wide, params, strict=True):
        got, want = jax.jit(network.apply)(p, x), jax.jit(exact.apply)(p, x)
        np.testing.assert_allclose(got, want, atol=0.03 * float(jnp.abs(want).max()))
        assert np.any(got != want)
        x = want


@pytest.mark.parametrize("kind", sorted(networks.ARCHITECTURES))
def test_the_last_layer_that_a_decoder_declares_makes_its_output(kind):
    shape = shape_for(kind)
    pair = build(kind, shape, out_channels=5)
    leaf = abstract(pair, shape)[0][1]
    for name in pair[1].last_layer.split("/"):
        leaf = leaf[name]
    assert leaf.shape[-1] in (5, 5 * np.prod(shape[:-1]))


@pytest.mark.parametrize("kind", sorted(networks.ARCHITECTURES))
def test_errors_for_unknown_names_suggest_near_ones(kind):
    shape = shape_for(kind)
    with pytest.raises(ValueError, match=f"architecture {kind!r} has no setting 'activaton'.*"):
        build(kind, shape, activaton="relu")
    with pytest.raises(ValueError, match=r"unknown activation 'reluu'.*did you mean 'relu'"):
        abstract(build(kind, shape, activation="reluu"), shape)
    with pytest.raises(ValueError, match=r"unknown compute dtype 'bfloat'.*'bfloat16'"):
        abstract(build(kind, shape, dtype="bfloat"), shape)


def test_unknown_architectures_and_unsupported_events_are_reported():
    with pytest.raises(ValueError, match=r"unknown architecture 'convs'.*did you mean 'conv'"):
        networks.build("convs", (16, 16, 1), 6, 1)
    for kind in ("conv", "latent_diffusion", "residual", "tiny_autoencoder"):
        with pytest.raises(ValueError, match=rf"{kind!r} takes images .*\(7,\); 'mlp' takes any"):
            networks.build(kind, (7,), 6, 1)
    with pytest.raises(ValueError, match=r"'residual_1d' takes signals .*\(8, 8, 1\); 'mlp' takes"):
        networks.build("residual_1d", (8, 8, 1), 6, 1)
    with pytest.raises(ValueError, match=r"'codec' takes signals of .*, found .*\(7,\)"):
        networks.build("codec", (7,), 6, 1)


class CustomLinen(linen.Module):
    shape: tuple[int, ...]

    @linen.compact
    def __call__(self, x):
        x = jnp.tanh(linen.Dense(8)(x.reshape(x.shape[0], -1)))
        return linen.Dense(int(np.prod(self.shape)))(x).reshape(-1, *self.shape)


class CustomNNX(nnx.Module):
    def __init__(self, width, shape, rngs):
        self.first, self.shape = nnx.Linear(width, 8, rngs=rngs), shape
        self.second = nnx.Linear(8, int(np.prod(shape)), rngs=rngs)

    def __call__(self, x):
        return self.second(jnp.tanh(self.first(x.reshape(x.shape[0], -1)))).reshape(-1, *self.shape)


def custom_pair(kind):
    if kind == "linen":
        return tuple(networks.from_linen(CustomLinen(s)) for s in ((4,), (8, 8, 1)))
    encoder = networks.from_nnx(lambda rngs: CustomNNX(64, (4,), rngs))
    return encoder, networks.from_nnx(lambda rngs: CustomNNX(2, (8, 8, 1), rngs))


@pytest.mark.parametrize("kind", ["linen", "nnx"])
def test_custom_modules_train_inside_a_family(kind):
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(1e-2))}
    family = families.beta_vae((8, 8, 1), players, latent_dim=2, network=custom_pair(kind))
    x = (np.random.RandomState(0).rand(16, 1, 1, 1) > 0.5) * np.ones((16, 8, 8, 1))
    batch = {"image": x.astype(np.float32)}
    state = jax.jit(lambda b: init_state(family, 0, b))(batch)
    step, nll = jax.jit(make_step(family)), []
    for _ in range(60):
        state, metrics, ok = step(state, batch, 0)
        assert ok
        nll.append(float(metrics["nll"]))
    assert step._cache_size() == 1
    assert nll[-1] < 0.5 * nll[0]
    other = jax.jit(lambda b: init_state(family, 1, b))(batch)
    kernels = [jax.tree.leaves(s.params["encoder"])[1] for s in (state, other)]
    assert not np.array_equal(*kernels), "the seed has no effect on the module"


class LinenBatchNorm(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.BatchNorm(use_running_average=False)(x)


def test_modules_with_state_are_rejected():
    x = jnp.zeros((2, 4))
    with pytest.raises(ValueError, match=r"LinenBatchNorm keeps state in \['batch_stats'\].*group"):
        networks.from_linen(LinenBatchNorm()).init(KEY, x)
    with pytest.raises(ValueError, match=r"NNX module keeps state in .*'mean'.*parameters only"):
        networks.from_nnx(lambda rngs: nnx.BatchNorm(4, rngs=rngs))


def test_any_function_with_parameters_can_be_a_network():
    custom = networks.Network(lambda key, x: {"w": jnp.ones(())}, lambda p, x: p["w"] * x)
    assert networks.build((custom, custom), (3,), 1, 1) == (custom, custom)

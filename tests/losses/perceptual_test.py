"""The perceptual distance against NumPy, VGG-16's layers against SciPy, and LPIPS's own package."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from vaejax import distributions, losses
from vaejax.core.game import Trace
from vaejax.losses import perceptual_distance
from vaejax.networks import lpips_features, random_features
from vaejax.networks.feature_maps import _CHANNELS, _STAGES
from vaejax.networks.ops import conv2d


def images(n=2, size=16, channels=3, seed=0):
    return np.random.RandomState(seed).rand(n, size, size, channels)


def test_the_distance_against_numpy_and_its_gradient_at_equal_images():
    def features(x):
        return (jnp.maximum(x - 0.5, 0.0), jnp.concatenate([x, x**2], axis=-1)[:, ::2])

    x, y = images(), images(seed=1)
    heads = [np.array([0.2, 0.0, 1.0]), np.arange(6.0)]
    want = 0.0
    for a, b, w in zip(features(x), features(y), heads, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        a, b = (m / (np.sqrt((m**2).sum(-1, keepdims=True)) + 1e-10) for m in (a, b))
        want += ((a - b) ** 2 @ w).mean(axis=(1, 2))
    with jax.enable_x64(True):
        x, y, heads = jnp.asarray(x), jnp.asarray(y), [jnp.asarray(w) for w in heads]
        got = perceptual_distance(features, x, y, heads)
        np.testing.assert_allclose(got, want, rtol=1e-6)
        p = distributions.Laplace(y, jnp.ones_like(y))
        named = losses.perceptual(features, heads).apply({}, {}, Trace(x, p, ()), None)
        np.testing.assert_allclose(named["perceptual"], 16 * 16 * 3 * want, rtol=1e-6)
    # Features that are all zero have no direction: the gradient there is finite.
    flat = jnp.zeros((1, 4, 4, 3))
    slope = jax.grad(lambda y: perceptual_distance(features, flat, y).sum())(flat)
    assert np.isfinite(slope).all()


@functools.cache
def vgg_weights():
    """Random weights by torchvision's names, of the right shapes."""
    rng = np.random.default_rng(3)
    weights, before = {}, 3
    for stage, channels in zip(_STAGES, _CHANNELS, strict=True):
        for n in stage:
            kernel = rng.standard_normal((channels, before, 3, 3), np.float32)
            weights[f"features.{n}.weight"] = kernel * np.float32(np.sqrt(2 / (9 * before)))
            weights[f"features.{n}.bias"] = rng.standard_normal(channels, np.float32) / 10
            before = channels
    for i, channels in enumerate(_CHANNELS):
        weights[f"lin{i}.model.1.weight"] = rng.random((1, channels, 1, 1), np.float32)
    return weights


def test_the_first_layers_of_vgg_against_scipy_and_the_names_of_both_packages():
    weights = vgg_weights()
    of_slices = {name.replace("features.", "net.slice1."): value for name, value in weights.items()}
    of_slices = {
        n.replace("lin", "lins.") if n[:3] == "lin" else n: v for n, v in of_slices.items()
    }
    x = images(1, 16)
    features, heads = lpips_features(weights)
    others, other_heads = lpips_features(of_slices)
    single = jnp.asarray(x, jnp.float32)
    with conv2d.using_implementation("native"):  # which needs the least memory
        first = features(single)[0]
    maps, again = jax.eval_shape(features, single), jax.eval_shape(others, single)
    assert [m.shape for m in maps] == [m.shape for m in again]
    assert [m.shape[1:] for m in maps] == [
        (16 // 2**i, 16 // 2**i, c) for i, c in enumerate(_CHANNELS)
    ]
    for a, b in zip(heads, other_heads, strict=True):
        np.testing.assert_array_equal(a, b)
    h = (2 * x[0] - 1 - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
    for n in (0, 2):
        kernel, bias = weights[f"features.{n}.weight"], weights[f"features.{n}.bias"]
        h = (
            np.stack(
                [
                    sum(
                        signal.correlate2d(h[..., i], kernel[o, i], mode="same")
                        for i in range(h.shape[-1])
                    )
                    for o in range(8 if n else 64)
                ],
                axis=-1,
            )
            + bias[: 8 if n else 64]
        )
        h = np.maximum(h, 0)
    np.testing.assert_allclose(first[0, ..., :8], h, rtol=1e-4, atol=1e-4)


def test_weights_that_are_missing_or_of_another_shape_are_named():
    weights = vgg_weights()
    with pytest.raises(ValueError, match=r"lack the layers features\.28\.weight"):
        lpips_features({k: v for k, v in weights.items() if ".28." not in k})
    with pytest.raises(ValueError, match=r"lack lin2\.model\.1\.weight"):
        lpips_features({k: v for k, v in weights.items() if k[:4] != "lin2"})
    with pytest.raises(ValueError, match="should have 64 weights, found"):
        lpips_features({**weights, "lin0.model.1.weight": np.ones(3)})


@pytest.mark.slow
def test_lpips_against_pytorchs_layers():
    """VGG-16 of torch.nn.functional, with the normalisations of LPIPS written out."""
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    weights = vgg_weights()
    of = {name: torch.from_numpy(value) for name, value in weights.items()}
    x, y = images(2, 48), images(2, 48, seed=1)

    def maps(image):
        h = torch.tensor(image, dtype=torch.float32).permute(0, 3, 1, 2)
        shift, scale = ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450])
        shift, scale = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (shift, scale))
        h = (2 * h - 1 - shift) / scale
        for i, stage in enumerate(_STAGES):
            h = f.max_pool2d(h, 2) if i else h
            for n in stage:
                weight, bias = of[f"features.{n}.weight"], of[f"features.{n}.bias"]
                h = f.relu(f.conv2d(h, weight, bias, padding=1))
            yield h / (h.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)

    want = 0
    for i, (a, b) in enumerate(zip(maps(x), maps(y), strict=True)):
        want = want + f.conv2d((a - b) ** 2, of[f"lin{i}.model.1.weight"]).mean(dim=(1, 2, 3))
    features, heads = lpips_features(weights)
    single = (jnp.asarray(a, jnp.float32) for a in (x, y))
    got = jax.jit(lambda x, y: perceptual_distance(features, x, y, heads))(*single)
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the package uses deprecated names of torchvision
def test_lpips_against_its_own_package_values_and_gradients():
    """Random weights of VGG-16, which need no download, and the heads that the package carries."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    lpips = pytest.importorskip("lpips")
    torch.manual_seed(0)
    theirs = lpips.LPIPS(net="vgg", pretrained=True, pnet_rand=True, verbose=False).eval()
    features, heads = lpips_features({k: v.numpy() for k, v in theirs.state_dict().items()})
    x, y = (images(2, 64, seed=seed).astype(np.float32) for seed in (0, 1))
    tensors = [torch.tensor(a).permute(0, 3, 1, 2).requires_grad_() for a in (x, y)]
    want = theirs(*tensors, normalize=True)
    slopes = torch.autograd.grad(want.sum(), tensors)

    def distance(x, y):
        values = perceptual_distance(features, x, y, heads)
        return values.sum(), values

    got_slopes, got = jax.jit(jax.grad(distance, (0, 1), has_aux=True))(x, y)
    np.testing.assert_allclose(got, want.detach().numpy().reshape(-1), rtol=1e-5)
    for a, b in zip(got_slopes, slopes, strict=True):
        b = b.permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_random_features_depend_on_the_seed_alone():
    x = jnp.asarray(images(1, 8, 1), jnp.float32)
    a, b, c = (random_features(4, 2, seed)(x) for seed in (0, 0, 1))
    assert [m.shape for m in a] == [(1, 4, 4, 4), (1, 2, 2, 8)]
    np.testing.assert_array_equal(a[1], b[1])
    assert np.abs(a[1] - c[1]).max() > 0.01

"""PSNR, SSIM and SI-SDR against NumPy in float64 and scikit-image; bits of codes by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import ndimage

from tests.random_params import random_params
from vaejax import data, families
from vaejax.core import game
from vaejax.evaluation.bitrate import SISDR, Bitrate, first_levels
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.image_errors import PSNR, SSIM
from vaejax.evaluation.signal_quality import psnr, si_sdr, ssim


def pair(shape=(3, 16, 20, 2)):
    rng = np.random.RandomState(0)
    x = ndimage.gaussian_filter(rng.rand(*shape), (0, 2, 2, 0))
    x = (x - x.min()) / np.ptp(x)
    return x, np.clip(x + 0.1 * rng.randn(*shape), 0, 1)


def reference_ssim(x, y):
    """Wang et al. 2004, window by window."""
    k = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    k = np.outer(k, k) / k.sum() ** 2
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (k * a).sum(), (k * b).sum()
            va, vb = (k * (a - ma) ** 2).sum(), (k * (b - mb) ** 2).sum()
            cov = (k * (a - ma) * (b - mb)).sum()
            light = (2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4)
            values.append(light * (2 * cov + 9e-4) / (va + vb + 9e-4))
    return np.mean(values)


def test_ssim_and_psnr_against_numpy_in_float64():
    x, y = pair()
    want = [
        np.mean([reference_ssim(a[..., c], b[..., c]) for c in range(2)])
        for a, b in zip(x, y, strict=True)
    ]
    with jax.enable_x64(True):
        got = jax.jit(ssim)(jnp.asarray(x), jnp.asarray(y))
        np.testing.assert_allclose(got, want, rtol=1e-10)
        np.testing.assert_allclose(
            psnr(jnp.asarray(x), jnp.asarray(y)),
            -10 * np.log10(((x - y) ** 2).mean(axis=(1, 2, 3))),
            rtol=1e-10,
        )
    single = jnp.asarray(x, jnp.float32)
    np.testing.assert_allclose(jax.jit(ssim)(single, single), 1.0, rtol=1e-4)
    assert (psnr(single, single) == 100).all()
    with pytest.raises(ValueError, match="11 × 11 pixels or more"):
        ssim(single[:, :8], single[:, :8])


@pytest.mark.slow
def test_ssim_and_psnr_against_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    x, y = pair()
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    with jax.enable_x64(True):
        got = ssim(jnp.asarray(x), jnp.asarray(y))
        decibels = psnr(jnp.asarray(x), jnp.asarray(y))
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        want = metrics.structural_similarity(a, b, channel_axis=-1, data_range=1.0, **options)
        np.testing.assert_allclose(got[i], want, rtol=1e-9)
        want = metrics.peak_signal_noise_ratio(a, b, data_range=1.0)
        np.testing.assert_allclose(decibels[i], want, rtol=1e-9)


def test_si_sdr_has_the_ratio_of_a_known_distortion_at_any_scale():
    t = np.arange(4000)
    x, noise = np.sin(2 * np.pi * t / 40), np.cos(2 * np.pi * t / 40)  # orthogonal
    y = np.stack([3 * (x + 10 ** (-d / 20) * noise) for d in (0, 10, 25)])
    with jax.enable_x64(True):
        got = si_sdr(jnp.asarray(np.broadcast_to(x, y.shape)), jnp.asarray(y))
    np.testing.assert_allclose(got, [0, 10, 25], atol=1e-8)


QUANTIZER = {
    "kind": "residual",
    "levels": 3,
    "quantizer": {"kind": "vector", "codes": 8, "dim": 2},
}


@pytest.mark.slow
def test_metrics_of_a_residual_quantizer_of_sound():
    """2 places of 3 levels of 3 bits; si_sdr of the first levels by sums of codes."""
    source = data.from_arrays({"signal": np.random.RandomState(0).randn(6, 8, 1)}, holdout=0)
    source = source if isinstance(source, data.Source) else source[0]
    source = dataclasses.replace(source, sample_rate=16, unit_scale=True)
    players = {name: ({"nll": 1.0}, optax.sgd(0.1)) for name in ("vae", "codebook")}
    family = families.vqvae(
        (8, 1),
        players,
        quantizer=QUANTIZER,
        network={"kind": "residual_1d", "hidden": 4, "blocks": 0},
        likelihood="laplace",
    )
    batch = jax.tree.map(jnp.asarray, source.decode(source.take(np.arange(6))))
    params = random_params(lambda key: game.init(family, key, batch), jax.random.key(0))
    context = EvaluationContext(family, params, source, batch_size=3)
    assert Bitrate().requires(family, source) is SISDR().requires(family, source) is None
    assert Bitrate().compute(context) == {"bits_per_example": 18.0, "bits_per_second": 36.0}
    got = SISDR().compute(context)
    indices = family.model.encode(params, batch, None)[0].posterior.indices
    book = np.asarray(params["codebook"])  # [levels, codes, dim]
    for q in (1, 2, 3):
        z = sum(book[level][np.asarray(indices[..., level])] for level in range(q))
        y = family.model.decode(params, (jnp.asarray(z),)).mean
        want = np.mean(si_sdr(batch["signal"], y))
        np.testing.assert_allclose(got[f"si_sdr/{q}"], want, rtol=1e-4, atol=1e-4)
        assert got[f"bits_per_second/{q}"] == 12.0 * q
    np.testing.assert_allclose(got["si_sdr"], got["si_sdr/3"], rtol=1e-5, atol=1e-5)
    assert "images" in PSNR().requires(family, source)
    assert "images" in SSIM().requires(family, source)
    kept = first_levels(indices, 1, 2)
    assert (kept[..., 2] == -1).all()
    assert (kept[..., :2] == indices[..., :2]).all()

"""Indices outside of a codebook do not pass for other codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.core.conditions import label
from vaejax.quantizers import (
    finite_scalar,
    grouped,
    gumbel_softmax,
    lookup_free,
    residual,
    sim_vq,
    vector,
)

KEY = jax.random.key(0)
QUANTIZERS = {
    "vector": vector(6, 2),
    "cosine": vector(6, 2, distance="cosine"),
    "sim_vq": sim_vq(6, 2),
    "gumbel": gumbel_softmax(6, 2),
    "finite_scalar": finite_scalar((3, 3)),
    "lookup_free": lookup_free(3),
    "grouped": grouped(vector(6, 2), 2),
    "residual": residual(finite_scalar((3, 3)), 2),
}


@pytest.mark.parametrize("name", QUANTIZERS)
def test_codes_beyond_the_codebook_are_not_a_number(name):
    quantizer = QUANTIZERS[name]
    tokens = jax.random.normal(KEY, (2, 8, quantizer.dim))
    params = quantizer.init(KEY, tokens)
    wrong = np.array([quantizer.size, quantizer.size + 7, -2, -100, 0, quantizer.size - 1, -1])
    indices = np.zeros((7, *quantizer.shape), np.int32)
    indices[(..., *(0,) * len(quantizer.shape))] = wrong
    z = np.asarray(quantizer.embed(params, jnp.asarray(indices)))
    assert np.isnan(z[:4]).any(axis=1).all()
    assert np.isfinite(z[4:]).all()
    if not quantizer.shape:
        np.testing.assert_array_equal(z[6], 0.0)


def test_labels_without_a_class_are_not_a_number():
    """−1 alone means no class."""
    got = np.asarray(label(3).read({"label": jnp.array([0, 2, -1, 3, 99, -7])}))
    np.testing.assert_array_equal(got[:3], [[1, 0, 0], [0, 0, 1], [0, 0, 0]])
    assert np.isnan(got[3:]).all()

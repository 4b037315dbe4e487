"""Decoders of feature maps refuse maps of another size, which they would crop."""

import jax
import jax.numpy as jnp
import pytest

from vaejax.networks.residual import residual

KEY = jax.random.key(0)


@pytest.mark.parametrize("downsamplings", [0, 1, 2])
@pytest.mark.parametrize("side", [8, 7])
def test_a_map_of_another_size_is_refused(downsamplings, side):
    options = {"hidden": 4, "blocks": 1, "block_hidden": 2, "downsamplings": downsamplings}
    encoder, decoder = residual((side, side, 1), 3, 1, **options)
    x = jnp.zeros((2, side, side, 1))
    z = jax.eval_shape(lambda: encoder.apply(encoder.init(KEY, x), x))
    params = jax.eval_shape(decoder.init, KEY, z)
    assert jax.eval_shape(decoder.apply, params, z).shape == x.shape
    h = z.shape[1]
    for other in ((h + 1, h), (h, 2 * h), (h, h + 1)):
        larger = jax.ShapeDtypeStruct((2, *other, 3), jnp.float32)
        found = rf"\[B, {h}, {h}, C\], found \[B, {other[0]}, {other[1]}, C\]"
        with pytest.raises(ValueError, match=found):
            jax.eval_shape(decoder.apply, params, larger)

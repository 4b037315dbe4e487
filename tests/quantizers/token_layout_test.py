"""The positions of the codes of all nodes in the token sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import quantizers
from vaejax.core.game import Latent
from vaejax.core.token_layout import CodeMap, Layout
from vaejax.distributions import OneHotCodes, Uniform
from vaejax.latents import bottlenecks
from vaejax.quantizers.token_layout import layout_of

TWO = Layout((CodeMap((2, 2), (), 5), CodeMap((2, 3), (2,), 7)))


def codes_node(places, trailing, size):
    shape = (4, *places, *trailing)
    indices = jnp.arange(np.prod(shape), dtype=jnp.int32).reshape(shape) % size
    features = jnp.zeros((4, *places, 3))
    return Latent(OneHotCodes(features, features, indices, size), Uniform(size, shape), features)


def test_raster_order_node_by_node_with_trailing_axes_innermost():
    top, bottom = np.arange(4).reshape(1, 2, 2), 10 + np.arange(12).reshape(1, 2, 3, 2)
    want = [0, 1, 2, 3]  # (0, 0), (0, 1), (1, 0), (1, 1)
    want += [bottom[0, i, j, q] for i in range(2) for j in range(3) for q in range(2)]
    np.testing.assert_array_equal(TWO.flatten((jnp.asarray(top), jnp.asarray(bottom)))[0], want)
    np.testing.assert_array_equal(TWO.kinds(), [0] * 4 + [1, 2] * 6)
    assert (TWO.length, TWO.vocabulary) == (16, 7)
    np.testing.assert_array_equal(TWO.allowed().sum(axis=1), [5, 7, 7])
    assert TWO.allowed()[0, :5].all()


def test_split_inverts_flatten_and_keeps_further_axes():
    tokens = jnp.asarray(np.random.RandomState(0).randint(0, 5, (3, 16, 7)))
    top, bottom = TWO.split(tokens)
    assert (top.shape, bottom.shape) == ((3, 2, 2, 7), (3, 2, 3, 2, 7))
    again = TWO.flatten([part[..., 4] for part in (top, bottom)])
    np.testing.assert_array_equal(again, tokens[..., 4])


@pytest.mark.parametrize(("places", "trailing"), [((4, 4), ()), ((4, 4), (3,)), ((), (2, 2))])
def test_the_shape_of_z_separates_places_from_trailing_axes(places, trailing):
    latents = (codes_node(places, trailing, 6), codes_node((2,), (), 9))
    assert layout_of(latents) == Layout((CodeMap(places, trailing, 6), CodeMap((2,), (), 9)))


def test_the_layout_of_the_codes_of_a_quantizer():
    features, bottleneck = jnp.ones((2, 3, 5, 4)), quantizers.bottleneck(quantizers.vector(8, 4))
    node = bottleneck.apply({"codebook": jnp.eye(8, 4)}, features, None)
    assert layout_of((node,)) == Layout((CodeMap((3, 5), (), 8),))


def test_a_node_without_codes_is_refused():
    node = bottlenecks.gaussian(2).apply({}, jnp.zeros((3, 4)), jax.random.key(0))
    with pytest.raises(ValueError, match=r"node 1 has a posterior of type Normal, .*prior.py:mix"):
        layout_of((codes_node((), (), 4), node))

"""Chains of loss transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.core.small_game import KEY, transform
from vaejax import losses
from vaejax.core import game
from vaejax.core.game import Trace

TRACE = Trace(jnp.zeros((4, 3)), None, ())


def named(**values):
    return losses.stateless(lambda before, trace: values)


def test_a_transform_receives_the_losses_before_it():
    double = losses.stateless(lambda before, trace: {"b": 2 * before["a"]})
    out = game.chain(named(a=jnp.arange(4.0)), double).apply({}, {}, TRACE, KEY)
    assert list(out) == ["a", "b"]
    np.testing.assert_array_equal(out["b"], 2 * np.arange(4.0))


def test_chain_gives_each_transform_its_own_key():
    def noise(name):
        return transform(lambda x, params, trace, key: {**x, name: jax.random.normal(key, (4,))})

    out = game.chain(noise("a"), noise("b")).apply({}, {}, TRACE, KEY)
    assert not np.array_equal(out["a"], out["b"])


def test_chain_refuses_overwriting_and_dropping():
    first = named(a=jnp.zeros(4), b=jnp.zeros(4))
    with pytest.raises(ValueError, match=r"loss transform 1 of the chain overwrites .* \['a'\]"):
        game.chain(first, named(a=jnp.ones(4))).apply({}, {}, TRACE, KEY)
    drop = transform(lambda x, params, trace, key: {"a": x["a"]})
    with pytest.raises(ValueError, match=r"drops \['b'\]"):
        game.chain(first, drop).apply({}, {}, TRACE, KEY)


def test_a_transform_cannot_modify_the_dict_it_receives():
    def modify(x, params, trace, key):
        x["a"] = jnp.ones(4)
        return x

    with pytest.raises(ValueError, match="overwrites"):
        game.chain(named(a=jnp.zeros(4)), transform(modify)).apply({}, {}, TRACE, KEY)


def test_chain_joins_the_parameters_of_its_transforms_and_refuses_duplicate_names():
    def discriminator(name):
        return transform(lambda x, *_: x, lambda key, trace: {name: jax.random.normal(key, (2,))})

    groups = game.chain(discriminator("one"), discriminator("two")).init(KEY, TRACE)
    assert set(groups) == {"one", "two"}
    assert not np.array_equal(groups["one"], groups["two"])
    with pytest.raises(ValueError, match=r"exist already: \['one'\]"):
        game.chain(discriminator("one"), discriminator("one")).init(KEY, TRACE)

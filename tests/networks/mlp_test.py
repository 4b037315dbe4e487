import jax
import numpy as np
import pytest
from scipy import stats

from vaejax.networks import mlp


def initial_layers(initial_weights):
    """Layers of an encoder of 49 inputs, 300 hidden units, 200 features."""
    encoder, _ = mlp.mlp((7, 7, 1), 200, 1, hidden=(300,), initial_weights=initial_weights)
    params = jax.jit(encoder.init)(jax.random.key(3), np.zeros((1, 7, 7, 1), np.float32))
    return jax.tree.map(np.asarray, params)


def test_uniform_initial_weights_are_those_of_pytorch():
    layers = initial_layers("uniform")
    for layer, inputs in ((layers["Dense_0"], 49), (layers["Dense_1"], 300)):
        # torch.nn.Linear: kernel and bias are uniform within ±1/√inputs.
        uniform = stats.uniform(-1 / np.sqrt(inputs), 2 / np.sqrt(inputs))
        for values in layer.values():
            assert np.abs(values).max() <= 1 / np.sqrt(inputs)
            assert stats.kstest(values.ravel(), uniform.cdf).pvalue > 1e-3


def test_default_biases_are_zero():
    layers = initial_layers("lecun_normal")
    assert not layers["Dense_0"]["bias"].any()
    np.testing.assert_allclose(layers["Dense_1"]["kernel"].std(), 300**-0.5, rtol=0.02)


def test_unknown_initial_weights_are_refused_with_near_ones():
    with pytest.raises(ValueError, match=r"unknown initial_weights 'unifrm'.*'uniform'"):
        mlp.mlp((7,), 2, 1, initial_weights="unifrm")

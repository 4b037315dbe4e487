"""Inception against PyTorch with the same weights, and its published number of parameters."""

import numpy as np
import pytest

from vaejax.evaluation.generation.inception import (
    inception_features,
    is_for_fid,
    read_weights,
    weight_shapes,
)


def random_weights(classes):
    """Weights that preserve the scale of activations, from NumPy's frozen stream."""
    random = np.random.RandomState(0)
    weights = {}
    for name, shape in weight_shapes().items():
        if name.endswith("conv.weight"):
            value = random.randn(*shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("bn.weight", "running_var")):
            value = 0.7 + 0.6 * random.rand(*shape)
        else:
            value = 0.2 * random.randn(*shape)
        weights[name] = value.astype(np.float32)
    return weights | {"fc.weight": np.zeros((classes, 2048), np.float32)}


def images():
    return np.random.RandomState(1).rand(2, 40, 56, 3).astype(np.float32)


# Mean, deviation, and features 0, 500, 1000, 1500, 2000 of the second image, from a network with
# torchvision's architecture written in PyTorch 2.13.0, in float64.
TORCH = {
    1008: (1.0291441, 1.3974414, 0.0323514, 2.0502393, 1.1420282, 0.1921259, 0.0),
    1000: (0.9595313, 1.2890885, 0.0563128, 2.1614746, 1.0763301, 0.1655551, 0.0679653),
}


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1008, 1000])
def test_against_torch(classes):
    weights = random_weights(classes)
    assert is_for_fid(weights) == (classes == 1008)
    features = np.asarray(inception_features(weights)(images()))
    assert features.shape == (2, 2048)
    got = (features.mean(), features.std(), *features[1, ::500])
    np.testing.assert_allclose(got, TORCH[classes], rtol=2e-5, atol=2e-5)


def test_number_of_parameters_is_the_published_one():
    """torchvision's model has 27,161,264, of which fc has 2,049,000, AuxLogits 3,326,696."""
    learned = [s for n, s in weight_shapes().items() if "running" not in n]
    assert sum(int(np.prod(s)) for s in learned) == 27_161_264 - 2_049_000 - 3_326_696


def test_invalid_weight_files_are_reported(tmp_path):
    weights = {name: np.zeros(shape, np.float32) for name, shape in weight_shapes().items()}
    np.savez(tmp_path / "good.npz", **weights)
    assert read_weights(tmp_path / "good.npz").keys() == weights.keys()
    wrong = {**weights, "Mixed_6b.branch7x7_2.conv.weight": np.zeros((128, 128, 7, 1))}
    np.savez(tmp_path / "wrong.npz", **wrong)
    with pytest.raises(ValueError, match=r"branch7x7_2\.conv\.weight should be \(128, 128, 1, 7\)"):
        read_weights(tmp_path / "wrong.npz")
    del weights["Conv2d_1a_3x3.bn.bias"]
    np.savez(tmp_path / "less.npz", **weights)
    with pytest.raises(ValueError, match=r"lacks 1 of the 470 weights.*Conv2d_1a_3x3\.bn\.bias"):
        read_weights(tmp_path / "less.npz")

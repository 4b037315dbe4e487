"""Checkpoints of codecs of sound, without PyTorch: round trips, names, codes, errors."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from vaejax import interop
from vaejax.interop.checkpoints import FORMATS, save_params, shapes_of

ENCODEC = {
    "num_filters": 2,
    "hidden_size": 3,
    "codebook_size": 4,
    "upsampling_ratios": [3, 2],
    "sampling_rate": 600,
    "target_bandwidths": [0.2, 0.6],
    "num_lstm_layers": 1,
}
DAC = {
    "encoder_hidden_size": 2,
    "decoder_hidden_size": 8,
    "downsampling_ratios": [2, 3],
    "n_codebooks": 2,
    "codebook_size": 8,
    "codebook_dim": 2,
}
RNG = np.random.RandomState(0)
X = RNG.randn(2, 60, 1).astype(np.float32)


def checkpoint(folder, name, options):
    form = FORMATS[name]
    config = {**form.defaults, **options}

    def leaf(path, s):
        start = 1.0 if "alpha" in jax.tree_util.keystr(path) else 0.0
        gain = np.sqrt(np.prod(s.shape[:-1]))
        return (start + 0.3 * RNG.randn(*s.shape) / gain).astype(np.float32)

    params = jax.tree_util.tree_map_with_path(leaf, shapes_of(form, config))
    save_params(form, config, params, folder)
    return params


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("EncodecModel", ENCODEC),
        ("EncodecModel", {**ENCODEC, "norm_type": "time_group_norm", "use_causal_conv": False}),
        ("DacModel", DAC),
    ],
    ids=["encodec", "norms", "dac"],
)
def test_a_checkpoint_is_read_as_it_was_written(name, options, tmp_path):
    params = checkpoint(tmp_path, name, options)
    model = interop.load(tmp_path)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), model.params, params)
    assert model.config["architectures"] == [name]


def test_weight_norms_and_biases_of_older_names_are_read(tmp_path):
    """`weight_g` and `weight_v`; the two biases of an LSTM are added."""
    params = checkpoint(tmp_path, "EncodecModel", ENCODEC)
    file = tmp_path / "model.safetensors"
    tensors = safetensors.numpy.load_file(file)
    assert "encoder.layers.0.conv.parametrizations.weight.original1" in tensors
    old = {}
    for name, tensor in tensors.items():
        new = name.replace("parametrizations.weight.original0", "weight_g")
        new = new.replace("parametrizations.weight.original1", "weight_v")
        # The length of v is irrelevant.
        old[new] = (
            3.0 * tensor if new.endswith("_v") else tensor + 1.0 if "bias_" in new else tensor
        )
    safetensors.numpy.save_file(old, file)
    got = interop.load(tmp_path).params
    same = got["encoder"]["conv_in"], params["encoder"]["conv_in"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *same)
    lstms = (p["decoder"]["lstm"]["layer_0"]["bias"] for p in (got, params))
    np.testing.assert_allclose(next(lstms), next(lstms) + 2.0, rtol=1e-5)


def test_codes_are_the_nearest_of_what_earlier_levels_left(tmp_path):
    checkpoint(tmp_path, "EncodecModel", ENCODEC)
    model = interop.load(tmp_path)
    codes = model.encode(X)
    assert codes.shape == (2, model.num_quantizers, 10) == (2, 3, 10)
    left = np.asarray(jax.jit(model.encoder.apply)(model.params["encoder"], X), float)
    for level, codebook in enumerate(np.asarray(model.params["codebook"], float)):
        nearest = np.square(left[..., None, :] - codebook).sum(-1).argmin(-1)
        np.testing.assert_array_equal(codes[:, level], nearest)
        left = left - codebook[nearest]
    np.testing.assert_array_equal(model.encode(X[..., 0], quantizers=2), codes[:, :2])
    np.testing.assert_array_equal(model.encode(X, bandwidth=0.2), codes[:, :1])
    sound = model.decode(codes)
    assert sound.shape == (2, 60, 1)
    np.testing.assert_array_equal(model.reconstruct(X), sound)
    for arguments, message in (
        ({"quantizers": 4}, "this model has 3 quantizers, found 4"),
        ({"quantizers": 2, "bandwidth": 0.2}, "give either"),
    ):
        with pytest.raises(ValueError, match=message):
            model.encode(X, **arguments)
    with pytest.raises(ValueError, match=r"shape \[N, T, 1\], found"):
        model.encode(X.astype(int))
    with pytest.raises(ValueError, match=r"codes lie in 0\.\.3, found 0\.\.4"):
        model.decode(np.array([[[0, 4]]]))
    with pytest.raises(ValueError, match=r"shape \[N, 1\.\.3, frames\]"):
        model.decode(codes[0])


@pytest.mark.parametrize(
    ("name", "options", "change", "message"),
    [
        ("EncodecModel", ENCODEC, {"trim_right_ratio": 0.5}, "trim_right_ratio=0.5, which is not"),
        ("EncodecModel", ENCODEC, {"codebook_dim": 5}, "the same codebook_dim and hidden_size"),
        (
            "EncodecModel",
            ENCODEC,
            {"target_bandwidths": [0.8]},
            "has no tensor 'quantizer.layers.3",
        ),
        ("DacModel", DAC, {"upsampling_ratios": [2, 3]}, "which alone is supported"),
        ("DacModel", DAC, {"decoder_hidden_size": 6}, "must be a multiple of 4"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, options, change, message, tmp_path):
    checkpoint(tmp_path, name, options)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=message) as error:
        interop.load(tmp_path)
    assert "\n" not in str(error.value)

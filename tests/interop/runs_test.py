"""Runs as checkpoints of other libraries, and runs that start from such checkpoints."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import families, interop
from vaejax.core.game import init
from vaejax.experiment.init_from import initial_params
from vaejax.optimizers.build import players

NETWORK = {"kind": "latent_diffusion", "channels": (4, 8), "blocks": 1, "groups": 2}
RNG = np.random.RandomState(0)
X = RNG.rand(2, 8, 8, 3).astype(np.float32)


def gaussian(network=NETWORK, likelihood="normal"):
    model = {"latent_dim": 2, "network": network, "likelihood": likelihood}
    rows = {"vae": {"minimizes": {"nll": 1.0, "kl": 1.0}, "learning_rate": 1e-3}}
    return run_of(families.beta_vae((8, 8, 3), players(rows), **model), model)


def quantized(network, **quantizer):
    model = {"network": network, "likelihood": {"kind": "normal", "scale": 0.5}}
    model["quantizer"] = {"kind": "vector", "codes": 5, "dim": 3, **quantizer}
    rows = {
        "vae": {"minimizes": {"nll": 1.0, "vq": 0.25}, "learning_rate": 1e-3},
        "codebook": {"minimizes": {"vq": 1.0}, "learning_rate": 1e-3},
    }
    return run_of(families.vqvae((8, 8, 3), players(rows), **model), model)


CODEC = {"kind": "codec", "filters": 2, "ratios": (2, 3), "lstm": 1, "causal": True}


def sounds(network=CODEC, codes=4, **quantizer):
    inner = {"kind": "vector", "codes": codes, "dim": 3}
    model = {"network": network, "likelihood": "laplace"}
    model["quantizer"] = {"kind": "residual", "levels": 3, "quantizer": inner, **quantizer}
    rows = {
        "vae": {"minimizes": {"nll": 1.0, "vq": 0.25}, "learning_rate": 1e-3},
        "codebook": {"minimizes": {"vq": 1.0}, "learning_rate": 1e-3},
    }
    family = families.vqvae((24, 1), players(rows), **model)
    return run_of(family, model, {"signal": jax.ShapeDtypeStruct((2, 24, 1), np.float32)})


def run_of(family, model, batch=None):
    """What `save` reads of a run, with random parameters of unit gain."""
    batch = batch or {"image": jax.ShapeDtypeStruct((2, 8, 8, 3), np.float32)}
    shapes = jax.eval_shape(lambda b: init(family, jax.random.key(0), b), batch)

    def leaf(path, s):
        gain = np.sqrt(np.prod(s.shape[:-1]))
        scale = 1.0 if "scale" in jax.tree_util.keystr(path) else 0.0
        return (scale + RNG.randn(*s.shape) / gain).astype(np.float32)

    params = jax.tree_util.tree_map_with_path(leaf, shapes)
    return SimpleNamespace(family=family, config={"model": model}, params=params, shapes=shapes)


def latents(run):
    @jax.jit
    def encode(params, x):
        (node,) = run.family.model.encode(params, {"image": x}, None)
        return node.posterior, node.z, run.family.model.decode(params, (node.z,), None).mean

    return encode(run.params, jnp.asarray(X))


def test_a_gaussian_run_becomes_an_autoencoder_kl(tmp_path, capsys):
    run = gaussian(likelihood={"kind": "normal", "scale": "learned"})
    interop.save(run, tmp_path, scaling_factor=0.5, shift_factor=0.1)
    model = interop.load(tmp_path)
    assert model.config["_class_name"] == "AutoencoderKL"
    posterior, z, mean = latents(run)
    np.testing.assert_allclose(model.encode(X), (posterior.mean - 0.1) * 0.5, atol=1e-5)
    picture = np.clip(mean, 0, 1)
    np.testing.assert_allclose(model.decode((z - 0.1) * 0.5), picture, atol=1e-4)
    found = initial_params({"init_from": str(tmp_path)}, run.shapes)
    own = dict(run.params, decoder={"network": run.params["decoder"]["network"]})
    jax.tree.map(np.testing.assert_array_equal, found.values, own)
    assert found.left == ["decoder/constants (not in the other model)"]
    text = capsys.readouterr().out
    assert f"init_from={tmp_path}, AutoencoderKL of diffusers\n  taken: decoder (" in text


def test_a_run_with_a_codebook_becomes_a_vq_model(tmp_path):
    network = {**NETWORK, "channels": (4,), "latent_channels": 2, "attention_levels": (0,)}
    run = quantized({**network, "attention": False})
    interop.save(run, tmp_path)
    model = interop.load(tmp_path)
    assert model.config["_class_name"] == "VQModel"
    assert model.config["down_block_types"] == ["AttnDownEncoderBlock2D"]
    posterior, _, mean = latents(run)
    np.testing.assert_array_equal(model.encode(X), posterior.indices)
    np.testing.assert_allclose(model.reconstruct(X), np.clip(mean, 0, 1), atol=1e-4)
    found = initial_params({"init_from": str(tmp_path)}, run.shapes)
    assert found.left == []


def test_a_run_on_sounds_becomes_an_encodec_model(tmp_path):
    run = sounds()
    interop.save(run, tmp_path, sampling_rate=4000)
    model = interop.load(tmp_path)
    assert model.config["architectures"] == ["EncodecModel"]
    assert model.num_quantizers == 3
    assert model.config["target_bandwidths"] == [1.334, 2.668, 4.002]
    x = RNG.randn(2, 24, 1).astype(np.float32)

    @jax.jit
    def through(params, x):
        (node,) = run.family.model.encode(params, {"signal": x}, None)
        return node.posterior.indices, run.family.model.decode(params, (node.z,), None).mean

    indices, sound = through(run.params, jnp.asarray(x))
    codes = model.encode(x)
    np.testing.assert_array_equal(codes, np.moveaxis(indices, -1, 1))
    np.testing.assert_allclose(model.decode(codes), sound, atol=1e-4)
    np.testing.assert_array_equal(model.encode(x, bandwidth=2.668), codes[:, :2])
    assert initial_params({"init_from": str(tmp_path)}, run.shapes).left == []
    with pytest.raises(ValueError, match="pass sampling_rate="):
        interop.save(run, tmp_path)
    with pytest.raises(ValueError, match="EncodecModel has no such factor"):
        interop.save(run, tmp_path, sampling_rate=4000, scaling_factor=0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gaussian({"kind": "residual", "hidden": 4}), "'residual' has no counterpart"),
        (lambda: gaussian(likelihood="bernoulli"), "likelihood 'bernoulli' does not give events"),
        (
            lambda: gaussian({**NETWORK, "channels": (4, 9), "groups": 4}),
            "different numbers of groups",
        ),
        (lambda: gaussian({**NETWORK, "activation": "relu"}), "activation='relu'"),
        (lambda: quantized({**NETWORK, "quant_conv": False}), "this run's model differs"),
        (lambda: sounds({**CODEC, "tanh": True}), "EncodecModel has tanh=False alone"),
        (lambda: sounds({**CODEC, "lstm": 0}), "at least one LSTM"),
        (lambda: sounds(shared=True), "this run's model differs"),
        (lambda: sounds(codes=5), "this run's model differs"),
        (lambda: quantized(NETWORK, distance="cosine"), "this run's model differs"),
    ],
)
def test_runs_without_counterpart_are_refused(make, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        interop.save(make(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_an_unknown_class_is_no_start(tmp_path):
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(ValueError, match="unknown class 'UNet2DModel'"):
        initial_params({"init_from": str(tmp_path)}, {})

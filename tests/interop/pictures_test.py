"""Checkpoints of autoencoders of pictures, without PyTorch: round trips, scaling, tiles, errors."""

import copy
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from vaejax import interop
from vaejax.interop.checkpoints import FORMATS, save_params, shapes_of
from vaejax.interop.layouts import to_tensors

KL = {
    "block_out_channels": [4, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 2,
    "latent_channels": 2,
    "scaling_factor": 0.5,
    "shift_factor": 0.25,
}
VQ = {
    **{name: value for name, value in KL.items() if name != "shift_factor"},
    "mid_block_add_attention": False,
    "num_vq_embeddings": 7,
    "vq_embed_dim": 3,
}
TINY = {
    "encoder_block_out_channels": [4, 4],
    "decoder_block_out_channels": [4, 4],
    "num_encoder_blocks": [0, 1],
    "num_decoder_blocks": [1, 0],
}
RNG = np.random.RandomState(0)
X = RNG.rand(2, 8, 12, 3).astype(np.float32)


def random_params(form, config):
    def leaf(path, shape):
        gain = np.sqrt(np.prod(shape.shape[:-1]))
        scale = 1.0 if "scale" in jax.tree_util.keystr(path) else 0.0
        return (scale + RNG.randn(*shape.shape) / gain).astype(np.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes_of(form, config))


def checkpoint(folder, name, options):
    form = FORMATS[name]
    config = {**form.defaults, **options}
    params = random_params(form, config)
    save_params(form, config, params, folder)
    return params


@pytest.fixture(scope="module")
def kl(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kl")
    return folder, checkpoint(folder, "AutoencoderKL", KL), interop.load(folder)


@pytest.mark.parametrize(
    ("name", "options"),
    [("AutoencoderKL", KL), ("VQModel", VQ), ("AutoencoderTiny", TINY)],
)
def test_a_checkpoint_is_read_as_it_was_written(name, options, tmp_path):
    params = checkpoint(tmp_path / "a", name, options)
    model = interop.load(tmp_path / "a")
    jax.tree.map(np.testing.assert_array_equal, model.params, params)
    assert model.config["_class_name"] == name
    interop.save(model, tmp_path / "b")
    for file in ("config.json", "diffusion_pytorch_model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_latents_are_scaled_as_diffusion_models_expect(kl):
    _, _, model = kl
    z = model.encode(X)
    features = jax.jit(model.encoder.apply)(model.params["encoder"], X)
    mean, log_variance = np.split(np.asarray(features), 2, axis=-1)
    assert z.shape == (2, 4, 6, 2)
    np.testing.assert_allclose(z, (mean - 0.25) * 0.5, atol=1e-5)
    picture = np.clip(jax.jit(model.decoder.apply)(model.params["decoder"], mean), 0, 1)
    np.testing.assert_allclose(model.decode(z), picture, atol=1e-4)
    np.testing.assert_allclose(model.reconstruct(X), picture, atol=1e-4)
    many = np.stack([model.sample(X, seed=i) for i in range(100)])
    want = 0.5 * np.exp(0.5 * log_variance)
    np.testing.assert_allclose(many.std(0), want, rtol=0.4)
    assert np.abs((many.mean(0) - z) / want).max() < 5 / np.sqrt(100)
    np.testing.assert_array_equal(many[3], model.sample(X, seed=3))
    q = jax.jit(model.posterior)(model.params, jnp.asarray(X))
    np.testing.assert_allclose(q.scale, 2 * want, rtol=1e-4)
    units = {"latents_mean": [1.0, 2.0], "latents_std": [3.0, 4.0]}
    other = copy.copy(model)
    other.config = {**model.config, **units}
    np.testing.assert_allclose(other.encode(X), (mean - [1, 2]) * 0.5 / [3, 4], atol=1e-5)


@pytest.mark.slow
def test_codes_are_the_nearest_and_decode_as_features_do(tmp_path):
    params = checkpoint(tmp_path, "VQModel", VQ)
    model = interop.load(tmp_path)
    codes = model.encode(X)
    features = np.asarray(model.encoder.apply(model.params["encoder"], X), float)
    distances = np.square(features[..., None, :] - params["codebook"]).sum(-1)
    np.testing.assert_array_equal(codes, distances.argmin(-1))
    from_features = model.decode((features * 0.5).astype(np.float32))
    np.testing.assert_array_equal(model.decode(codes), from_features)
    np.testing.assert_array_equal(model.sample(X), codes)
    with pytest.raises(ValueError, match=r"lie in 0\.\.6, found .*7"):
        model.decode(np.full((1, 4, 6), 7))


def test_rows_one_at_a_time_equal_the_batch(kl):
    _, _, model = kl
    z = model.encode(X)
    np.testing.assert_allclose(model.encode(X, batch_size=1), z, atol=1e-5)
    pixels = np.round(255 * X).astype(np.uint8)
    np.testing.assert_allclose(model.encode(pixels), model.encode(pixels / 255.0), atol=1e-5)


def test_tiles_equal_the_whole_where_a_tile_sees_enough(tmp_path):
    """Without norms and attention, tiles that overlap by enough leave no seam."""
    checkpoint(tmp_path, "AutoencoderTiny", TINY)
    model = interop.load(tmp_path)
    x = RNG.rand(1, 80, 112, 3).astype(np.float32)
    z = model.encode(x)
    # The encoder sees 11 pixels beyond a position, the decoder 5 positions: a quarter of 48 each.
    np.testing.assert_allclose(model.encode(x, tile=64, overlap=48), z, atol=1e-5)
    want = model.decode(z)
    np.testing.assert_allclose(model.decode(z, tile=64, overlap=48), want, atol=1e-5)
    assert np.abs(model.decode(z, tile=32, overlap=2) - want).max() > 1e-3
    with pytest.raises(ValueError, match="tile and overlap must be multiples of 2"):
        model.encode(x, tile=33)


def test_seams_of_a_model_with_norms_are_blended(kl):
    """A tile has other statistics than the whole, but the result has no jump between tiles."""
    _, _, model = kl
    rows, columns = np.mgrid[:64, :96] / 64.0
    x = np.stack([rows, columns / 1.5, rows * columns / 1.5], axis=-1)[None].astype(np.float32)
    z = model.encode(x)
    tiles = model.encode(x, tile=32, overlap=16)
    jumps, own = (np.abs(np.diff(a, axis=2)).max() for a in (tiles[:, 2:-2, 2:-2], z))
    assert 0 < np.abs(tiles - z).max() < 2 * np.ptp(z)
    assert jumps < 2 * own


def test_names_of_older_versions_are_read(kl, tmp_path):
    folder, params, _ = kl
    tensors = safetensors.numpy.load_file(folder / "diffusion_pytorch_model.safetensors")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for name in [name for name in tensors if ".to_" in name]:
        base, _, layer = name.partition("attentions.0.")
        layer, _, kind = layer.rpartition(".")
        array = tensors.pop(name)
        array = array[:, :, None, None] if array.ndim == 2 else array  # as a 1×1 convolution
        tensors[f"{base}attentions.0.{old[layer]}.{kind}"] = array
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    names = sorted(tensors)
    parts = {f"diffusion_pytorch_model-{i}.safetensors": names[i::2] for i in range(2)}
    for file, part in parts.items():
        safetensors.numpy.save_file({name: tensors[name] for name in part}, tmp_path / file)
    where = {name: file for file, part in parts.items() for name in part}
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    jax.tree.map(np.testing.assert_array_equal, interop.load(tmp_path).params, params)
    (tmp_path / next(iter(parts))).unlink()
    with pytest.raises(FileNotFoundError, match=r"lists diffusion.*-0.*download it too"):
        interop.load(tmp_path)


def changed(kl, tmp_path, *, drop=(), tensors=(), **options):
    """A checkpoint with other options or tensors."""
    _, _, model = kl
    config = {**model.config, **options}
    (tmp_path / "config.json").write_text(json.dumps(config))
    stored = to_tensors(model.format.layout(model.config), model.params) | dict(tensors)
    stored = {name: value for name, value in stored.items() if name not in drop}
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    file.write_bytes(safetensors.numpy.save(stored))
    return tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": ("quant_conv.bias",)}, "has no tensor 'quant_conv.bias', which its config.json"),
        ({"tensors": {"other.bias": np.ones(1)}}, "1 tensors .* no place for, such as 'other.bias"),
        ({"latent_channels": 3}, r"has the shape \[.*\], but by its config.json \["),
        ({"act_fn": "gelu"}, "act_fn='gelu', which is not supported: only 'silu' or 'swish'"),
        ({"down_block_types": ["DownBlock2D"] * 2}, "only 'DownEncoderBlock2D' and"),
        ({"_class_name": "AutoencoderKLWan"}, "unknown class 'AutoencoderKLWan' .known: Auto"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(kl, tmp_path, change, message):
    folder = changed(kl, tmp_path, **change)
    with pytest.raises(ValueError, match=message) as error:
        interop.load(folder)
    assert "\n" not in str(error.value)


def test_missing_files_are_named(kl, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config.json: name the folder"):
        interop.load(tmp_path)
    folder = changed(kl, tmp_path)
    file = folder / "diffusion_pytorch_model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:100])
    with pytest.raises(ValueError, match="is not a complete safetensors file"):
        interop.load(folder)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"has no diffusion_pytorch_model.safetensors"):
        interop.load(folder)
    (folder / "diffusion_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"as a pickle, .*bin.*safe_serialization=True"):
        interop.load(folder)
    nested = tmp_path / "pipeline" / "vae"
    nested.mkdir(parents=True)
    (nested / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"is a pipeline: name its autoencoder, .*vae"):
        interop.load(nested.parent)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[0], r"shape \[N, H, W, 3\], found \[8, 12, 3\]"),
        (X - 1.0, r"pictures in \[0, 1\], found -0.99"),
        ((X * 9).astype(int), "uint8, or float"),
        (X[:, :7], "must be multiples of 2, found 7×12"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(kl, x, message):
    with pytest.raises(ValueError, match=message):
        kl[2].encode(x)


def test_latents_that_do_not_fit_are_refused(kl):
    with pytest.raises(
        ValueError, match=r"latents of shape \[N, h, w, 2\], found .*\[1, 2, 2, 3\]"
    ):
        kl[2].decode(np.zeros((1, 2, 2, 3)))


def test_bfloat16_computes_in_lower_precision(kl):
    folder, _, model = kl
    narrow = interop.load(folder, dtype="bfloat16").encode(X)
    z = model.encode(X)
    assert narrow.dtype == np.float32
    assert 1e-5 < np.abs(narrow - z).max() < 0.1 * z.std()

"""Checkpoints of random parameters against the classes of diffusers and transformers."""

import numpy as np
import pytest

from benchmarks import interop as comparison
from benchmarks.interop_models import MODELS, make
from vaejax import interop

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(name="torch", scope="module", autouse=True)
def torch_fixture():
    for name in ("diffusers", "transformers"):
        pytest.importorskip(name)
    return pytest.importorskip("torch")


@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients_agree_in_both_directions(name):
    for half in comparison.compare(name).values():
        assert half["value"]["largest"] < 1e-4
        assert half["gradient"]["largest"] < 1e-4
        assert half["written"]["largest"] < 1e-4


@pytest.mark.parametrize("name", ["AutoencoderKL (SD 1, 2)", "AutoencoderTiny", "DacModel"])
def test_bfloat16_is_as_near_to_float32_as_pytorch_is(name):
    for half in comparison.compare(name, "bfloat16").values():
        assert half["value"]["rms"] < 1.25 * half["pytorch"]["value"]["rms"]
        assert half["gradient"]["rms"] < 1.25 * half["pytorch"]["gradient"]["rms"]
        # Rounding the parameters alone is half of it: no computation in bfloat16 is free of that.
        assert half["parameters"]["value"]["rms"] > 0.3 * half["value"]["rms"]


def models(name, folder):
    module = make(name)
    module.save_pretrained(folder)
    return module, interop.load(folder)


def test_pictures_and_latents_are_those_of_the_pipeline(tmp_path, torch):
    """With the config's shift and scale, and the clipping of diffusers' image processor."""
    module, model = models("AutoencoderKL (SD 3, Flux)", tmp_path)
    x = np.random.RandomState(0).rand(2, 16, 32, 3).astype(np.float32)
    with torch.no_grad():
        mean = module.encode(torch.tensor(x).permute(0, 3, 1, 2) * 2 - 1).latent_dist.mode()
        latents = (mean - module.config.shift_factor) * module.config.scaling_factor
        back = latents / module.config.scaling_factor + module.config.shift_factor
        picture = (module.decode(back).sample / 2 + 0.5).clamp(0, 1)
    z = model.encode(x)
    np.testing.assert_allclose(z, latents.permute(0, 2, 3, 1), atol=1e-4 * z.std())
    want = picture.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(model.decode(z), want, atol=1e-4 * want.std())


def test_codes_of_pictures_are_those_of_diffusers(tmp_path, torch):
    module, model = models("VQModel", tmp_path)
    x = np.random.RandomState(0).rand(2, 16, 32, 3).astype(np.float32)
    with torch.no_grad():
        h = module.encode(torch.tensor(x).permute(0, 3, 1, 2) * 2 - 1).latents
        indices = module.quantize(h)[2][2].numpy().reshape(2, 4, 8)
        picture = (module.decode(h).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    codes = model.encode(x)
    np.testing.assert_array_equal(codes, indices)
    np.testing.assert_allclose(model.decode(codes), picture, atol=1e-4 * picture.std())


@pytest.mark.parametrize("bandwidth", [0.6, 2.4])
@pytest.mark.parametrize("length", [400, 407])
def test_encodec_of_whole_sounds(bandwidth, length, tmp_path, torch):
    module, model = models("EncodecModel (24 kHz)", tmp_path)
    x = 0.5 * np.random.RandomState(0).randn(2, length, 1).astype(np.float32)
    with torch.no_grad():
        sound = torch.tensor(x).permute(0, 2, 1)
        encoded = module.encode(sound, bandwidth=bandwidth)
        y = module.decode(encoded.audio_codes, encoded.audio_scales).audio_values
    codes = model.encode(x, bandwidth=bandwidth)
    np.testing.assert_array_equal(codes, encoded.audio_codes[0].numpy())
    want = y.permute(0, 2, 1).numpy()
    np.testing.assert_allclose(model.decode(codes), want, atol=1e-4 * want.std())
    again = type(module).from_pretrained(interop.save(model, tmp_path / "saved")).eval()
    written = again.encode(sound, bandwidth=bandwidth)
    np.testing.assert_array_equal(written.audio_codes[0].numpy(), codes)


def test_encodec_in_chunks(tmp_path, torch):
    """Chunks of 400 samples that overlap by 40; the last has 200."""
    module, model = models("EncodecModel (48 kHz)", tmp_path)
    x = 0.5 * np.random.RandomState(0).randn(2, 920, 2).astype(np.float32)
    with torch.no_grad():
        y = module(torch.tensor(x).permute(0, 2, 1), bandwidth=2.4)
    codes = model.encode(x, bandwidth=2.4)
    theirs = y.audio_codes.numpy()
    assert theirs.shape == codes.codes.shape
    np.testing.assert_array_equal(np.where(codes.codes < 0, theirs, codes.codes), theirs)
    want = y.audio_values.permute(0, 2, 1).numpy()
    np.testing.assert_allclose(model.decode(codes), want, atol=1e-4 * want.std())


@pytest.mark.parametrize("quantizers", [2, 4])
def test_dac(quantizers, tmp_path, torch):
    module, model = models("DacModel", tmp_path)
    x = 0.5 * np.random.RandomState(0).randn(2, 400).astype(np.float32)
    with torch.no_grad():
        y = module(torch.tensor(x)[:, None], n_quantizers=quantizers)
    codes = model.encode(x, quantizers=quantizers)
    np.testing.assert_array_equal(codes, y.audio_codes.numpy())
    want = y.audio_values.numpy()[..., None]
    np.testing.assert_allclose(model.decode(codes), want, atol=1e-4 * want.std())


def test_a_causal_codec_in_chunks_equals_the_whole(tmp_path):
    """With the reflection at the beginning that its convolutions have."""
    _, model = models("EncodecModel (24 kHz)", tmp_path)
    x = 0.5 * np.random.RandomState(0).randn(1, 800, 1).astype(np.float32)
    whole, state, parts = model.encoder.apply(model.params["encoder"], x), None, []
    assert model.codec.first_chunk == 280
    for start, end in ((0, 280), (280, 400), (400, 800)):
        part, state = model.codec.encode_chunk(model.params["encoder"], x[:, start:end], state)
        parts.append(part)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5)

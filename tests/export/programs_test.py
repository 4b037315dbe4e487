"""Exports: the programs agree with the model, and run without vaejax and Flax."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export as jax_export

from tests.random_params import random_params
from vaejax import families
from vaejax.data.readers.npz import from_arrays
from vaejax.export import programs as export_module
from vaejax.export.programs import export, programs
from vaejax.export.safetensors import load_params, save_params
from vaejax.networks import Network
from vaejax.quantizers import grouped, gumbel_softmax, vector
from vaejax.quantizers.nearest_neighbors import nearest

SHAPE = (8, 8, 1)
MLP = {"kind": "mlp", "hidden": (8,)}
RNG = np.random.RandomState(0)
PIXELS = (RNG.rand(20, *SHAPE) < 0.5).astype(np.uint8)
VAE = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.sgd(1.0))}


def beta_vae(network=None, **options):
    conv = {"kind": "conv", "channels": (4, 8), "kernels": (4, 4), "hidden": 8}
    network = network or conv
    options = {"latent_dim": 3, "likelihood": "bernoulli", **options}
    return families.beta_vae(SHAPE, VAE, network=network, **options)


def vqvae():
    players = {"vae": ({"nll": 1.0}, optax.sgd(1.0)), "codebook": ({"vq": 1.0}, optax.sgd(1.0))}
    network = {"kind": "residual", "hidden": 8, "downsamplings": 2, "blocks": 1}
    return families.vqvae(
        SHAPE, players, quantizer=vector(5, 4), network=network, likelihood="bernoulli"
    )


def ladder():
    network = {"kind": "dense", "latent_dims": (3, 5), "hidden": (8, 16)}
    return families.hierarchical(SHAPE, VAE, network=network, merge="precision")


def cvae(**options):
    options = {"latent_dim": 3, "network": MLP, "classes": 4, **options}
    return families.cvae(SHAPE, VAE, **options)


FAMILIES = {"conv": beta_vae, "vqvae": vqvae, "ladder": ladder, "cvae": cvae}
LATENT_SHAPES = {
    "conv": [["b", 3]],
    "vqvae": [["b", 2, 2]],
    "ladder": [["b", 3], ["b", 5]],
    "cvae": [["b", 3]],
}


@pytest.fixture(scope="module")
def source():
    return from_arrays({"image": PIXELS, "label": np.arange(20) % 4})


def init(family, source):
    batch = source.decode(source.take(np.arange(16)))
    return random_params(family.model.init, jax.random.key(0), batch), batch


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request, source, tmp_path_factory):
    name, folder = request.param, tmp_path_factory.mktemp("export") / "export"
    family = FAMILIES[name]()
    params, batch = init(family, source)
    export(family, params, source, folder, family=name, step=7)
    return name, family, params, batch, folder


def read(folder, name):
    program = jax_export.deserialize(bytearray((folder / f"{name}.jaxexport").read_bytes()))
    return jax.jit(program.call)


def test_the_files_and_their_description(exported):
    name, _, _, _, folder = exported
    names = {"params.safetensors", "encoder.jaxexport", "decoder.jaxexport", "export.json"}
    assert {file.name for file in folder.iterdir()} == names
    info = json.loads((folder / "export.json").read_text())
    assert (info["family"], info["step"]) == (name, 7)
    encoder, decoder = info["encoder"], info["decoder"]
    image = {"name": "image", "shape": ["b", *SHAPE], "dtype": "float32"}
    label = [{"name": "label", "shape": ["b"], "dtype": "int32"}] * (name == "cvae")
    assert encoder["inputs"] == [image, *label]
    assert [z["shape"] for z in encoder["outputs"]] == LATENT_SHAPES[name]
    assert {z["dtype"] for z in encoder["outputs"]} == {"int32" if name == "vqvae" else "float32"}
    meaning = "indices of the nearest codes, of 5" if name == "vqvae" else "mean of the posterior"
    assert {z.pop("is") for z in encoder["outputs"]} == {meaning}
    assert decoder["inputs"] == [*encoder["outputs"], *label]
    assert decoder["outputs"] == [{**image, "is": "mean of p(x | z)"}]


def test_programs_agree_with_the_model(exported):
    name, family, params, batch, folder = exported
    # Posterior means do not depend on the samples, except in the lower layers of a ladder.
    key = None if name == "ladder" else jax.random.key(3)

    def encode_and_decode(params, batch):
        nodes = family.model.encode(params, batch, key)
        means = tuple(node.posterior.mean for node in nodes)
        latents = [n.posterior.indices for n in nodes] if name == "vqvae" else means
        return latents, family.model.decode(params, means, batch).mean

    latents, decoded = jax.jit(encode_and_decode)(params, batch)
    assert all(np.std(a) > 1e-3 for a in (*latents, decoded))  # not constant
    encode, decode = read(folder, "encoder"), read(folder, "decoder")
    for count in (1, 13):
        label = [batch["label"][:count]] * (name == "cvae")
        zs = encode(batch["image"][:count], *label)
        for z, expected in zip(zs, latents, strict=True):
            np.testing.assert_allclose(z, expected[:count], atol=1e-5)
        np.testing.assert_allclose(decode(*zs, *label), decoded[:count], atol=1e-5)


def test_one_program_runs_on_all_platforms(exported):
    """It has no custom calls except checks of shapes."""
    *_, folder = exported
    for name in ("encoder", "decoder"):
        blob = bytearray((folder / f"{name}.jaxexport").read_bytes())
        program = jax_export.deserialize(blob)
        assert program.platforms == ("cpu", "cuda", "tpu")
        calls = [line for line in program.mlir_module().splitlines() if "custom_call" in line]
        assert all("@shape_assertion" in line for line in calls)


def test_parameters_are_restored_bit_for_bit(exported):
    _, _, params, _, folder = exported
    loaded = load_params(folder / "params.safetensors")
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_all_kinds_of_parameters_are_restored(tmp_path):
    """Scalars, other dtypes, transposed arrays, groups without parameters; names and metadata."""
    safetensors = pytest.importorskip("safetensors")
    params = {
        "encoder": {"Conv_0": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3).T}},
        "none": {},
        "deep": {"none": {}, "count": np.int32(3), "nan": np.array([np.nan, -0.0], np.float16)},
    }
    save_params(tmp_path / "p.safetensors", params, family="f", step=3)
    with safetensors.safe_open(str(tmp_path / "p.safetensors"), framework="numpy") as file:
        assert set(file.keys()) == {"encoder/Conv_0/kernel", "deep/count", "deep/nan"}
        assert {"family": "f", "step": "3"}.items() <= file.metadata().items()
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "p.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
    loaded = load_params(tmp_path / "p.safetensors")
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@pytest.mark.parametrize("params", [{"a/b": np.zeros(2)}, {"a": {"": np.zeros(2)}}])
def test_names_that_cannot_be_restored_are_rejected(tmp_path, params):
    with pytest.raises(ValueError, match="cannot be named"):
        save_params(tmp_path / "p.safetensors", params)


WITHOUT_VAEJAX = """\
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("vaejax", "flax", "optax", "safetensors"):
            raise ImportError(f"forbidden: {name}")

sys.meta_path.insert(0, Forbidden())
import numpy as np
inputs = [np.load("image.npy")]
"""


def test_programs_run_without_vaejax(source, tmp_path):
    """Runs the lines `load` of `export.json` in a process that cannot import vaejax or Flax."""
    family = beta_vae()
    params, batch = init(family, source)
    export(family, params, source, tmp_path)
    image = np.asarray(batch["image"][:5])
    np.save(tmp_path / "image.npy", image)
    load = "\n".join(json.loads((tmp_path / "export.json").read_text())["load"])
    end = "\nnp.save('x.npy', x)\nassert 'vaejax' not in sys.modules\n"
    (tmp_path / "program.py").write_text(WITHOUT_VAEJAX + load + end)
    result = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    encode, decode = family.model.encode, family.model.decode
    (node,) = jax.jit(encode)(params, {"image": image}, jax.random.key(0))
    expected = jax.jit(lambda z: decode(params, (z,)).mean)(node.posterior.mean)
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), expected, atol=1e-5)


def test_encoding_without_a_key_is_deterministic(source):
    family = beta_vae(MLP)
    params, batch = init(family, source)
    (node,) = jax.jit(family.model.encode)(params, batch, None)
    np.testing.assert_array_equal(node.z, node.posterior.mean)
    quantizer = grouped(gumbel_softmax(6, 4), 2)
    codebook = RNG.standard_normal((2, 6, 4)).astype(np.float32)
    logits = RNG.standard_normal((3, 5, 2, 6)).astype(np.float32)
    _, z = quantizer.quantize(codebook, jnp.asarray(logits.reshape(3, 5, 12)), None)
    best = logits.argmax(axis=-1)
    expected = np.concatenate([codebook[0][best[..., 0]], codebook[1][best[..., 1]]], axis=-1)
    np.testing.assert_allclose(z, expected, rtol=1e-6)


def test_models_that_cannot_be_exported_are_reported(source):
    family = beta_vae(MLP)
    params, batch = init(family, source)

    def programs_of(**changes):
        return programs(family._replace(model=family.model._replace(**changes)), params, batch)

    with pytest.raises(ValueError, match=r"model of sequences has no encoder .*save_params"):
        programs_of(sequences=object())
    with pytest.raises(ValueError, match="model without latents has nothing to encode"):
        programs_of(encode=lambda params, batch, key: ())

    def depends_on_size(params, zs, condition):
        return family.model.decode(params, tuple(z if len(z) > 2 else -z for z in zs), condition)

    with pytest.raises(ValueError, match="decoder cannot be exported with a symbolic batch size"):
        programs_of(decode=depends_on_size)
    with pytest.raises(ValueError, match=r"learned for the run runs/first .* export that run"):
        export_module.check_run({"first_stage": "runs/first"})


@pytest.mark.parametrize("module", ["safetensors", "flatbuffers"])
def test_missing_packages_are_reported(source, tmp_path, monkeypatch, module):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    family = beta_vae(MLP)
    with pytest.raises(ImportError, match=rf"needs {module}: pip install 'vaejax\[export\]'"):
        export(family, {}, source, tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_only_fields_that_a_program_reads_are_inputs(source):
    """The encoder here does not depend on the label."""
    family = cvae(conditioned=("decoder",))
    encoder, decoder = programs(family, *init(family, source))
    assert [value["name"] for value in encoder.inputs] == ["image"]
    assert [value["name"] for value in decoder.inputs] == ["z0", "label"]


def test_observed_pixels_are_decoded_too():
    image = jnp.asarray(PIXELS, jnp.float32)
    mask = jnp.zeros_like(image).at[:, :4].set(1.0)
    batch = {"image": image, "hidden": mask, "condition": jnp.where(mask > 0, -1.0, image)}
    family = cvae(condition="condition", classes=0, learned_prior=False)
    params = random_params(family.model.init, jax.random.key(0), batch)
    encoder, decoder = programs(family, params, batch)
    assert [value["name"] for value in encoder.inputs] == ["image", "condition"]
    assert [value["name"] for value in decoder.inputs] == ["z0", "condition"]
    (z,) = jax.jit(encoder.exported.call)(batch["image"], batch["condition"])
    x = np.asarray(jax.jit(decoder.exported.call)(z, batch["condition"]))

    @jax.jit
    def means(params, z, batch):
        p = family.model.decode(params, (z,), batch)
        return p.base.mean, p.mean

    base, mean = means(params, z, batch)
    np.testing.assert_allclose(x, base, atol=1e-5)
    assert np.abs(x - mean)[:, 4:].max() > 0.1


def test_tokens_are_decoded_to_the_likeliest():
    encoder_network = Network(lambda key, x: {}, lambda params, x: jax.nn.one_hot(x, 5))
    decoder_network = Network(
        lambda key, z: {"bias": jnp.zeros(5)}, lambda params, z: z + params["bias"][None, None]
    )
    players = {"vae": ({"nll": 1.0}, optax.sgd(1.0)), "codebook": ({"vq": 1.0}, optax.sgd(1.0))}
    networks = (encoder_network, decoder_network)
    options = {"network": networks, "likelihood": "categorical", "tokens": 5}
    family = families.vqvae((12,), players, quantizer=vector(5, 5), **options)
    tokens = from_arrays({"tokens": RNG.randint(5, size=(20, 12))})
    params, batch = init(family, tokens)
    params["codebook"] = jnp.eye(5)
    encoder, decoder = programs(family, params, batch)
    assert encoder.inputs == [{"name": "tokens", "shape": ["b", 12], "dtype": "int32"}]
    assert decoder.outputs == [{**encoder.inputs[0], "is": "likeliest x of p(x | z)"}]
    x = decoder.exported.call(*encoder.exported.call(batch["tokens"]))
    expected = np.argmax(jnp.eye(5) + params["decoder"]["bias"][None], axis=-1)
    np.testing.assert_array_equal(x, expected[batch["tokens"]])


def test_nearest_neighbors_with_many_codes_and_a_symbolic_size():
    """A search in blocks of tokens and chunks of codes."""
    codes = jnp.asarray(RNG.standard_normal((1500, 3)), jnp.float32)
    (n,) = jax_export.symbolic_shape("n")
    spec = jax.ShapeDtypeStruct((n, 3), jnp.float32)
    program = jax_export.export(jax.jit(lambda tokens: nearest(tokens, codes)))(spec)
    for count in (1, 512, 1100):
        tokens = RNG.standard_normal((count, 3)).astype(np.float32)
        distance = np.square(np.asarray(codes, np.float64)[None] - tokens[:, None]).sum(axis=2)
        np.testing.assert_array_equal(program.call(tokens), distance.argmin(axis=1))

"""Exports: the programs agree with the model, and run without vaejax and Flax."""

import functools
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import export as jax_export

from tests.export.small_models import MLP, SHAPE, SOURCE, beta_vae, cvae, init, ladder, vqvae
from vaejax.export.model_files import export
from vaejax.export.safetensors import load_params

FAMILIES = {"conv": beta_vae, "vqvae": vqvae, "ladder": ladder, "cvae": cvae}
LATENT_SHAPES = {
    "conv": [["b", 3]],
    "vqvae": [["b", 2, 2]],
    "ladder": [["b", 3], ["b", 5]],
    "cvae": [["b", 3]],
}


@pytest.fixture(scope="module")
def export_of(tmp_path_factory):
    """`export_of(name)`: a family of the table, exported once."""

    @functools.cache
    def make(name):
        family, folder = FAMILIES[name](), tmp_path_factory.mktemp("export") / "export"
        params, batch = init(family)
        export(family, params, SOURCE, folder, family=name, step=7)
        return name, family, params, batch, folder

    return make


@pytest.fixture(params=FAMILIES)
def exported(request, export_of):
    return export_of(request.param)


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


def test_programs_run_without_vaejax(export_of, tmp_path):
    """Runs the lines `load` of `export.json` in a process that cannot import vaejax or Flax."""
    _, family, params, batch, folder = export_of("conv")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
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


@pytest.mark.parametrize("module", ["safetensors", "flatbuffers"])
def test_missing_packages_are_reported(tmp_path, monkeypatch, module):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    family = beta_vae(MLP)
    with pytest.raises(ImportError, match=rf"needs {module}: pip install 'vaejax\[export\]'"):
        export(family, {}, SOURCE, tmp_path / "no")
    assert not (tmp_path / "no").exists()

"""What programs read and give, without writing them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export as jax_export

from tests.export.small_models import MLP, PIXELS, beta_vae, cvae, init
from tests.random_params import random_params
from vaejax import families
from vaejax.data.readers.npz import from_arrays
from vaejax.export.model_files import check_run
from vaejax.export.programs import programs
from vaejax.networks import Network
from vaejax.quantizers import grouped, gumbel_softmax, vector
from vaejax.quantizers.nearest_neighbors import nearest

RNG = np.random.RandomState(2)


def test_encoding_without_a_key_is_deterministic():
    family = beta_vae(MLP)
    params, batch = init(family)
    (node,) = jax.jit(family.model.encode)(params, batch, None)
    np.testing.assert_array_equal(node.z, node.posterior.mean)
    quantizer = grouped(gumbel_softmax(6, 4), 2)
    codebook = RNG.standard_normal((2, 6, 4)).astype(np.float32)
    logits = RNG.standard_normal((3, 5, 2, 6)).astype(np.float32)
    _, z = quantizer.quantize(codebook, jnp.asarray(logits.reshape(3, 5, 12)), None)
    best = logits.argmax(axis=-1)
    expected = np.concatenate([codebook[0][best[..., 0]], codebook[1][best[..., 1]]], axis=-1)
    np.testing.assert_allclose(z, expected, rtol=1e-6)


def test_models_that_cannot_be_exported_are_reported():
    family = beta_vae(MLP)
    params, batch = init(family)

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
        check_run({"first_stage": "runs/first"})


def test_only_fields_that_a_program_reads_are_inputs():
    """The encoder here does not depend on the label."""
    family = cvae(conditioned=("decoder",))
    encoder, decoder = programs(family, *init(family))
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

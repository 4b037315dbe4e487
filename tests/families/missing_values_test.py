"""Missing values of tables, networks that read the mask, and families that refuse one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.families.masked import SGD, VAE, some
from tests.random_params import random_state
from vaejax import families, networks
from vaejax.training.train_step import init_state, make_step

MLP = {"kind": "mlp", "hidden": (5,)}
WITH_MASK = {**MLP, "mask_input": True}
NORMAL = {"kind": "normal", "scale": "predicted"}
M2 = {"vae": ({"nll": 1.0, "kl": 1.0, "label_nll": 1.0}, SGD)}
TABLES = {
    "beta_vae": lambda: families.beta_vae(
        (4,), VAE, latent_dim=2, network=WITH_MASK, likelihood=NORMAL
    ),
    "m2": lambda: families.m2(
        (4,), M2, latent_dim=2, network=MLP, likelihood=NORMAL, classes=3
    ),
    "iwae": lambda: families.iwae(
        (4,),
        {"encoder": ({"dreg": 1.0}, SGD), "decoder": ({"iwae": 1.0}, SGD)},
        latent_dim=2, network=MLP, likelihood=NORMAL, samples=3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", some(TABLES, slow=("iwae",)))
def test_missing_values_of_tables_have_no_effect(name):
    family, random = TABLES[name](), np.random.RandomState(1)
    mask = random.uniform(size=(6, 4)) < 0.6
    mask[0] = True
    x = random.normal(size=(6, 4)).astype(np.float32)
    label = np.array([0, -1, 2, -1, 1, -1], np.int32)
    with_zeros = {"vector": np.where(mask, x, 0.0), "mask": mask, "label": label}
    unknown = np.where(mask, x, np.nan).astype(np.float32)
    state = random_state(family, with_zeros)
    step = jax.jit(make_step(family))
    want, got = (step(state, {**with_zeros, "vector": v}, 0) for v in (x, unknown))
    assert got[2]
    jax.tree.map(np.testing.assert_array_equal, want, got)
    everything = step(state, {**with_zeros, "mask": np.ones_like(mask), "vector": x}, 0)
    assert float(everything[1]["nll"]) != float(got[1]["nll"])


def test_an_encoder_can_read_the_mask():
    encoder, _ = networks.build(WITH_MASK, (4,), 3, 4)
    x = jnp.ones((2, 4))
    params = encoder.init(jax.random.key(0), x)
    plain, _ = networks.build(MLP, (4,), 3, 4)
    mask = np.array([[True] * 4, [True, False, True, False]])
    both = jnp.concatenate([x, mask.astype(np.float32)], axis=1)
    got = networks.apply_masked(encoder, params, jnp.asarray(mask), x)
    np.testing.assert_array_equal(got, plain.apply(params, both))
    np.testing.assert_array_equal(encoder.apply(params, x)[0], got[0])


PAIR = {"encoder": ({"kl": 1.0}, SGD), "decoder": ({"feature": 1.0}, SGD)}
REFUSED = {
    "vae_gan": (
        lambda: families.vae_gan(
            (8, 8, 1), {**PAIR, "discriminator": ({"gan": 1.0}, SGD)}, latent_dim=2, network=MLP
        ),
        {"image": np.zeros((2, 8, 8, 1), np.float32), "mask": np.ones((2, 8, 8), bool)},
        "adversarial losses compare whole events",
    ),
    "gaussian_mixture": (
        lambda: families.gaussian_mixture((3,), {"prior": ({"nll": 1.0}, SGD)}, components=2),
        {"vector": np.zeros((4, 3), np.float32), "mask": np.ones((4, 3), bool)},
        "which this family's model does not honour",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_families_that_compare_whole_events_refuse_masks(name):
    make, batch, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda batch: init_state(make(), 0, batch), batch)

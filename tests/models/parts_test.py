"""The parts of which models are made, each against a formula, without training or compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vaejax.distributions import Normal, kl
from vaejax.distributions.likelihoods import normal
from vaejax.latents.bottlenecks import MIN_SCALE
from vaejax.models.frame_aggregator import FrameAggregator
from vaejax.models.ladder_block import Block, BlockInputs, Stage, first_values, run_stage
from vaejax.models.sequence_model import LayeredSamples
from vaejax.models.stacked_latents import standard_unless
from vaejax.models.state_space import StateSpace, StateSpaceParts
from vaejax.models.td_vae import TDVAEParts
from vaejax.models.td_vae_densities import TDVAEDensities
from vaejax.networks import Network, Recurrent, build_recurrent

KEY = jax.random.key(0)
RANDOM = np.random.RandomState(0)


def features(loc, scale):
    """The features that `soft_normal` maps to this mean and standard deviation."""
    share = (scale - MIN_SCALE) / (1 - MIN_SCALE)
    return jnp.concatenate([loc, jnp.broadcast_to(jnp.log2(2.0**share - 1), loc.shape)], axis=-1)


def fixed(apply):
    return Network(lambda key, *inputs: {}, lambda params, *inputs: apply(*inputs))


def linear(weight, scale):
    """N(w · the sum of the inputs, scale²) of one dimension, with w the network's parameter."""
    return Network(
        lambda key, x: jnp.float32(weight),
        lambda w, *inputs: features(
            w * sum(x.sum(axis=1, keepdims=True) for x in inputs), jnp.float32(scale)
        ),
    )


def ladder_stage(blocks, merge):
    update = Network(lambda key, *inputs: {}, lambda w, h, residual, z: h + w * z)
    enter = fixed(lambda h: h)
    return Stage(blocks, enter, linear(0.5, 1.5), linear(-0.3, 0.8), update, merge)


def block_inputs(number=0, fixed=None):
    down = {"prior": jnp.float32(0.5), "update": jnp.float32(2.0)}
    return BlockInputs(down, jnp.float32(-0.3), jnp.int32(number), jnp.float32(0.7), fixed)


H, ACTIVATION = jnp.asarray(RANDOM.randn(2, 4, 1), jnp.float32)


def test_a_ladder_block_merges_prior_and_encoder_as_a_product_of_gaussians():
    block = Block(ladder_stage(1, "precision"), 1, MIN_SCALE, KEY, ACTIVATION)
    q, p, _ = block.densities(H, block_inputs())
    z = np.linspace(-12, 12, 20_001)[:, None]
    h, a = np.asarray(H)[:, 0], np.asarray(ACTIVATION)[:, 0]
    product = stats.norm.pdf(z, 0.5 * h, 1.5) * stats.norm.pdf(z, -0.3 * (h + a), 0.8)
    product /= product.sum(axis=0)
    mean = (product * z).sum(axis=0)
    np.testing.assert_allclose(q.loc[:, 0], mean, rtol=1e-4, atol=1e-5)
    scale = np.sqrt((product * (z - mean) ** 2).sum(axis=0))
    np.testing.assert_allclose(q.scale[:, 0], scale, rtol=1e-4)
    np.testing.assert_allclose(p.loc, 0.5 * H, rtol=1e-5)


def test_a_ladder_block_without_activations_samples_the_prior_at_its_temperature():
    stage = ladder_stage(1, "precision")
    at_one = block_inputs()._replace(temperature=jnp.float32(1.0))
    block = Block(stage, 1, MIN_SCALE, KEY, None)
    _, node = block.apply(H, at_one)
    _, cooler = block.apply(H, block_inputs())
    assert node.posterior is node.prior
    np.testing.assert_allclose(cooler.z - 0.5 * H, 0.7 * (node.z - 0.5 * H), atol=1e-5)
    _, mean = Block(stage, 1, MIN_SCALE, None, None).apply(H, at_one)
    np.testing.assert_allclose(mean.z, 0.5 * H, rtol=1e-5)


@pytest.mark.parametrize("remat", [False, True])
def test_a_stage_is_its_blocks_one_after_the_other(remat):
    block = Block(ladder_stage(3, "residual"), 1, MIN_SCALE, KEY, ACTIVATION)
    fixed = first_values([jnp.full((4, 1), 5.0)], 3)
    inputs = [block_inputs(i, (fixed[0][i], fixed[1][i])) for i in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *inputs)
    last, nodes = run_stage(block, H, stacked, remat=remat)
    h, expected = H, []
    for each in inputs:
        h, node = block.apply(h, each)
        expected.append(node)
    np.testing.assert_allclose(last, h, rtol=1e-5)
    np.testing.assert_array_equal(nodes[0].z, 5.0)
    for node, want in zip(nodes, expected, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), node, want)
    assert first_values((), 3) is None


def td_vae_densities():
    """Of one latent of one dimension; every density is linear in the sum of its inputs."""
    identity = fixed(lambda x: x)
    belief, smoother, transition = (linear(*row) for row in ((0.6, 0.9), (0.2, 0.5), (-0.4, 1.1)))
    networks = ((belief,), (smoother,), (transition,))
    parts = TDVAEParts(identity, build_recurrent({"kind": "gru", "size": 2}), *networks, identity)
    densities = TDVAEDensities(parts, normal(1.0), (2,), 3)
    weights = {"belief": {"layer_0": 0.6}}, {"layer_0": 0.2}, {"layer_0": -0.4}
    params = dict(zip(("belief", "smoothing", "transition"), weights, strict=True))
    return densities, {**params, "decoder": {}}


def test_the_nodes_of_a_pair_of_times_have_the_kl_of_the_paper():
    """1806.03107, eq. 8, with densities written out here."""
    densities, params = td_vae_densities()
    b1, b2 = jnp.asarray(RANDOM.randn(2, 5, 2), jnp.float32)
    delta = jnp.array([1, 2, 3, 1, 2])
    keys = (jax.random.key(1), jax.random.key(2))
    latents, (z2,) = densities.pair_latents(params, b1, b2, delta, keys)
    second, first = latents
    total_b1, total_b2 = (np.asarray(b, np.float64).sum(axis=1) for b in (b1, b2))
    d = np.asarray(densities.embed_delta(delta), np.float64).sum(axis=1)
    at2, at1 = (np.asarray(node.z, np.float64)[:, 0] for node in (second, first))
    np.testing.assert_array_equal(z2, second.z)
    estimate = stats.norm.logpdf(at2, 0.6 * total_b2, 0.9)
    estimate -= stats.norm.logpdf(at2, -0.4 * (at1 + d), 1.1)
    np.testing.assert_allclose(kl(*second)[:, 0], estimate, atol=1e-4)
    gap = 0.2 * (at2 + total_b1 + total_b2 + d) - 0.6 * total_b1
    closed_form = np.log(0.9 / 0.5) + (0.5**2 + gap**2) / (2 * 0.9**2) - 0.5
    np.testing.assert_allclose(kl(*first)[:, 0], closed_form, atol=1e-4)


def test_belief_states_of_a_stream_are_those_of_the_sequence():
    cumulative = Recurrent(
        lambda key, x: {},
        lambda params, x: jnp.cumsum(x, axis=1),
        lambda params, n: jnp.zeros((n, 3)),
        lambda params, state, x: (state + x, state + x),
    )
    frames = FrameAggregator(fixed(lambda x: 2.0 * x), cumulative, (3,))
    x = jnp.asarray(RANDOM.randn(2, 4, 3), jnp.float32)
    group, b0 = frames.init(jax.random.split(KEY, 2), x)
    whole, state = frames.apply(group, x), frames.initial_state(group, 2)
    np.testing.assert_allclose(b0, 2 * x[:, 0], rtol=1e-6)
    np.testing.assert_allclose(whole, 2 * np.cumsum(x, axis=1), rtol=1e-5)
    for t in range(4):
        b, state = frames.step(group, state, x[:, t])
        np.testing.assert_allclose(b, whole[:, t], rtol=1e-5)


def test_the_first_transition_of_a_state_space_model_is_standard():
    samples = LayeredSamples((Normal(jnp.full((2, 3), 4.0), jnp.full((2, 3), 0.1)),), ())
    (first,) = standard_unless(jnp.int32(0), samples).densities
    (later,) = standard_unless(jnp.int32(2), samples).densities
    np.testing.assert_array_equal(first.loc, 0.0)
    np.testing.assert_array_equal(first.scale, 1.0)
    np.testing.assert_array_equal(later.loc, 4.0)

    identity, stack = fixed(lambda x: x), (linear(0.6, 0.9),)
    parts = StateSpaceParts(identity, build_recurrent("gru"), stack, stack, identity)
    model = StateSpace(parts, normal(1.0), (3, 1), (1,))
    params = {"belief": {"posterior": {"layer_0": 0.6}}, "transition": {"layer_0": 0.5}}
    b = jnp.asarray(RANDOM.randn(2, 3, 1), jnp.float32)
    q, p = model.chain.filter_sequence(params, b, None)
    (means,), (prior,) = q.zs, p.densities
    z = np.zeros((2, 1))
    for t in range(3):
        np.testing.assert_allclose(prior.loc[:, t], 0.5 * z, atol=1e-6)
        np.testing.assert_allclose(prior.scale[:, t], 0.9 if t else 1.0, rtol=1e-5)
        z = 0.6 * (z + np.asarray(b[:, t]))
        np.testing.assert_allclose(means[:, t], z, rtol=1e-5)

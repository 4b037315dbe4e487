"""Codes learn sounds and sentences: better than what knows nothing of the example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import vqvae as config_file
from vaejax import data
from vaejax.core.game import losses_and_trace
from vaejax.data.batches import batch_indices
from vaejax.data.preprocess import event_shape
from vaejax.data.synthetic.sentences import ALPHABET, entropy_rate
from vaejax.experiment.build import build
from vaejax.training.train_step import init_state, make_step

SMALL = {"kind": "residual_1d", "hidden": 32, "block_hidden": 16}


def trained(setting, network, steps):
    """After a short training by a setting of configs/vqvae.py: nll of each step, and a trace."""
    config = config_file.get_config(setting).to_dict()
    config["model"]["network"] = network
    train, held_out = (data.load(config["data"]["source"], split) for split in ("train", "eval"))
    dataset_info = {"tokens": train.num_tokens or 0}
    family = build(config, event_shape(train), dataset_info)

    def batch(source, indices):
        return source.decode(source.take(indices))

    state = jax.jit(lambda b: init_state(family, 0, b))(batch(train, np.arange(256)))
    step, nll = jax.jit(make_step(family)), []
    for i in range(steps):
        state, metrics, ok = step(state, batch(train, batch_indices(0, i, train.size, 32)), 0)
        assert ok
        nll.append(float(metrics["nll"]))
    losses_fn = jax.jit(losses_and_trace(family, training=False))
    held = batch(held_out, np.arange(500))
    losses, trace = losses_fn(state.params, held, jax.random.key(0), jnp.int32(steps))
    return nll, losses, trace


@pytest.mark.slow
def test_a_vqvae_learns_codes_for_waveforms():
    nll, _, trace = trained("waveforms", {**SMALL, "downsamplings": 3}, steps=250)
    assert np.mean(nll[-20:]) < 0.2 * np.mean(nll[:5])
    x, mean = np.asarray(trace.x), np.asarray(trace.likelihood.mean)
    mse, ignorant = np.square(mean - x).mean(), np.square(x - x.mean(axis=0)).mean()
    assert mse < 0.35 * ignorant  # of the mean signal
    # One clip for another is worse than the mean signal: the codes tell them apart.
    assert np.square(mean[1:] - x[:-1]).mean() > ignorant
    assert trace.latents[0].z.shape == (500, 64, 64)


@pytest.mark.slow
def test_a_vqvae_learns_codes_for_text():
    nll, losses, trace = trained("text", {**SMALL, "downsamplings": 2}, steps=600)
    x, logits = np.asarray(trace.x), np.asarray(trace.likelihood.logits)
    share = np.bincount(x.ravel(), minlength=len(ALPHABET)) / x.size
    unigram = -(share[share > 0] * np.log(share[share > 0])).sum() * 64  # nats of an example
    assert nll[0] > unigram
    got = float(losses["nll"].mean())
    assert got < 0.5 * unigram
    accuracy = (logits.argmax(axis=-1) == x).mean()
    assert accuracy > 0.75 > 3 * share.max()
    # The bound of the whole code, in which the codes are paid for, is above the entropy.
    assert got + float(losses["kl"].sum(axis=-1).mean()) > 64 * entropy_rate()


def test_the_classes_of_the_data_are_those_of_the_likelihood():
    config = config_file.get_config("text").to_dict()
    family = build(config, (64,), {"tokens": 11})
    batch = {"tokens": jax.ShapeDtypeStruct((600, 64), jnp.int32)}
    params = jax.eval_shape(family.model.init, jax.random.key(0), batch)
    assert params["encoder"]["embedding"].shape[0] == 11
    config["model"]["likelihood"]["classes"] = 10
    with pytest.raises(
        ValueError, match="10 classes cannot explain data of 11; leave out 'classes'"
    ):
        build(config, (64,), {"tokens": 11})

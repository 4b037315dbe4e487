"""Conditions of another width than the event, from the shell."""

import numpy as np
import pytest

import vaejax

RANDOM = np.random.RandomState(0)
FLAGS = [
    *("--config=configs/cvae.py", "--config.model.condition=condition"),
    "--config.model.network={'kind': 'mlp', 'hidden': (8,)}",
    *("--config.model.latent_dim=2", "--config.model.likelihood.kind=normal"),
    *("--config.data.condition_dropout=0.0", "--config.evaluate.figures=False"),
    *("--config.train.steps=2", "--config.train.batch_size=8", "--config.train.log_every=2"),
    *("--config.train.steps_per_dispatch=1", "--config.mesh.data=1", "--config.sample.count=6"),
]
EVENTS = {
    "a table": ({"vector": RANDOM.randn(40, 6)}, 100 + 9 * RANDOM.randn(40, 3), True),
    "images, given a vector": ({"image": RANDOM.rand(40, 4, 4, 3)}, RANDOM.randn(40, 5), False),
    "colours of grey images": ({"image": RANDOM.rand(40, 4, 4, 3)}, RANDOM.rand(40, 4, 4), False),
}


@pytest.mark.parametrize(
    "case", [n if n == "a table" else pytest.param(n, marks=pytest.mark.slow) for n in EVENTS]
)
def test_a_condition_of_any_width(command, tmp_path, case):
    event, condition, learned_prior = EVENTS[case]
    np.savez(tmp_path / "data.npz", condition=condition, **event)
    flags = [*FLAGS, f"--config.model.learned_prior={learned_prior}"]
    flags += [f"--config.data.source=npz:{tmp_path / 'data.npz'}", f"--workdir={tmp_path / 'run'}"]
    code, _, err = command(*flags)
    assert code == 0, err
    ((field, events),) = event.items()
    run = vaejax.load_run(tmp_path / "run")
    shape = condition.shape[1:] if condition.ndim == 2 else (*condition.shape[1:], 1)
    assert run.spec.fields["condition"][0] == shape
    c = condition.reshape(40, *shape)
    decoded = run.decode(run.encode(events[:6], condition=c[:6]), condition=c[:6])
    assert decoded.shape == events[:6].shape
    z = run.encode(events[:1], condition=c[:1]).repeat(2, axis=0)
    one, other = run.decode(z, condition=c[:2])
    assert np.abs(one - other).max() > 1e-4
    if case == "a table":
        code, _, err = command(*flags, "--mode=sample")
        assert code == 0, err
        with np.load(tmp_path / "run" / "samples.npz") as file:
            samples = dict(file)
        held_out = vaejax.load_data(f"npz:{tmp_path / 'data.npz'}", "eval")
        rows = np.linspace(0, held_out.size - 1, 6).astype(int)
        np.testing.assert_allclose(samples["condition"], held_out.arrays["condition"][rows])
        assert samples[field].shape == (6, 6)

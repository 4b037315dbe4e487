"""Gradients that are not finite: steps skipped, counted, recorded as null, given up on in time."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import optax
import pytest

from vaejax.core.sharding import make_mesh
from vaejax.data.batches import batch_indices
from vaejax.training import NotFiniteError, Settings, Trainer, fit

POISON, SEED = 7, 1


def settings_of(**changes):
    common = {"steps": 20, "batch_size": 8, "steps_per_dispatch": 5, "log_every": 5}
    return Settings(**common | {"checkpoint_every": 10, "ema_decay": 0.9} | changes)


class Poisoned:
    """A trainer whose data is NaN where the stored pixels are `POISON`, as `choose` says."""

    def __init__(self, family, source):
        self.whole = source(streamed=True)
        self.bad = set()

        def take(indices):
            rows = self.whole.take(indices)
            bad = np.isin(indices, list(self.bad))[:, None, None, None]
            return {"image": np.where(bad, np.uint8(POISON), rows["image"])}

        def decode(rows):
            image = self.whole.decode(rows)["image"]
            return {"image": jax.numpy.where(rows["image"] == POISON, np.float32("nan"), image)}

        data = dataclasses.replace(self.whole, take=take, decode=decode)
        self.trainer = Trainer(family, data, settings_of(), seed=SEED, mesh=make_mesh(1))

    def choose(self, *examples):
        self.bad = set(examples)
        return self.trainer


@pytest.fixture(scope="module")
def poisoned(vqvae, source):
    return Poisoned(vqvae(), source)


def steps_with(example, steps=20):
    """Which steps use an example: one in each epoch of five."""
    return [s for s in range(steps) if example in batch_indices(SEED, s, 40, 8)]


def records_of(workdir):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def after(trainer, steps, initial):
    """The state after single dispatches of single steps."""
    states = [initial]
    for span, chunk in trainer.feed.chunks([(s, s + 1) for s in range(steps)]):
        states.append(jax.device_get(trainer.dispatch(states[-1], span, chunk)[0]))
    return states


def test_a_poisoned_step_changes_nothing_but_the_counters(poisoned):
    trainer = poisoned.choose(3)
    bad = steps_with(3)
    assert len(bad) == 4
    states = after(trainer, 10, jax.device_get(trainer.init()))
    for step, (old, new) in enumerate(itertools.pairwise(states)):
        assert int(new.step) == step + 1
        assert int(new.skipped) == (1 if step in bad else 0)
        same = [
            np.array_equal(a, b)
            for a, b in zip(jax.tree.leaves(old[1:4]), jax.tree.leaves(new[1:4]), strict=True)
        ]
        assert all(same) if step in bad else not any(same)


def test_one_bad_example_is_survived(poisoned, tmp_path):
    trainer = poisoned.choose(3)
    outcome = fit(trainer, settings_of(max_skipped=2), workdir=tmp_path)
    assert int(outcome.state.step) == 20
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(outcome.state))
    # Records are means over the steps that were taken: finite.
    records = records_of(tmp_path)
    assert [r["step"] for r in records] == [5, 10, 15, 20]
    assert all(v is not None for r in records for v in r.values())


def test_records_leave_skipped_steps_out(poisoned, tmp_path):
    """The mean over a dispatch with one bad step is the mean over the other four."""
    trainer = poisoned.choose(3)
    state, nll = trainer.init(), []
    for span, chunk in trainer.feed.chunks([(s, s + 1) for s in range(5)]):
        state, named = trainer.dispatch(state, span, chunk)
        nll.append(float(named["nll"]))
    assert [i for i, v in enumerate(nll) if np.isnan(v)] == steps_with(3, 5)
    fit(trainer, settings_of(steps=5), workdir=tmp_path)
    np.testing.assert_allclose(records_of(tmp_path)[0]["nll"], np.nanmean(nll), rtol=1e-6)


def test_too_many_in_a_row(poisoned, tmp_path):
    trainer = poisoned.choose(*range(40))
    wanted = r"step 5: .* not finite in the last 5 steps \(train\.max_skipped=4\).*learning_rate"
    with pytest.raises(NotFiniteError, match=wanted):
        fit(trainer, settings_of(max_skipped=4), workdir=tmp_path)
    with pytest.raises(NotFiniteError, match=r"step 15: .* in the last 15 steps"):
        fit(trainer, settings_of(max_skipped=12), workdir=tmp_path)
    # With better data, training goes on from the checkpoint at step 10, counting from there.
    outcome = fit(poisoned.choose(), settings_of(max_skipped=12), workdir=tmp_path)
    assert (int(outcome.state.step), int(outcome.state.skipped)) == (20, 0)


def test_a_record_without_a_finite_step_has_nulls(poisoned, tmp_path):
    trainer = poisoned.choose(*range(40))
    initial = jax.device_get(trainer.init())
    outcome = fit(trainer, settings_of(steps=5), workdir=tmp_path)
    (record,) = records_of(tmp_path)
    assert (record["step"], record["nll"], record["grad_norm"]) == (5, None, None)
    assert int(outcome.state.skipped) == 5
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(outcome.state)[1:4], initial[1:4])


def test_a_move_that_is_not_finite_leaves_the_parameters(vqvae, source):
    """Of a rate that is no number in the seventh step: its gradient is as finite as any."""

    def update(updates, step, params=None, **extra):
        rate = jax.numpy.where(step == 6, jax.numpy.nan, -1e-3)
        return jax.tree.map(lambda g: rate * g, updates), step + 1

    family = vqvae()
    tx = optax.GradientTransformation(lambda params: jax.numpy.zeros((), jax.numpy.int32), update)
    family.players["vae"] = family.players["vae"]._replace(tx=tx)
    trainer = Trainer(family, source(), settings_of(), seed=SEED, mesh=make_mesh(1))
    states = after(trainer, 10, jax.device_get(trainer.init()))
    for step, (old, new) in enumerate(itertools.pairwise(states)):
        assert int(new.skipped) == (step == 6)
        pairs = zip(jax.tree.leaves(old.params), jax.tree.leaves(new.params), strict=True)
        same = [np.array_equal(a, b) for a, b in pairs]
        assert all(same) if step == 6 else not any(same)

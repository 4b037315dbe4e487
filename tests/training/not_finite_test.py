"""Non-finite gradients: steps are skipped, counted, recorded as null; too many are an error."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import optax
import pytest

from vaejax.core.sharding import make_mesh
from vaejax.data.batches import batch_indices
from vaejax.experiment.outcome import check_elbo, check_steps_taken
from vaejax.training import NotFiniteError, Settings, Trainer, fit

POISON, SEED = 7, 1


def settings_of(**changes):
    common = {"steps": 20, "batch_size": 8, "steps_per_dispatch": 5, "log_every": 5}
    return Settings(**common | {"checkpoint_every": 10, "ema_decay": 0.9} | changes)


class Poisoned:
    """A trainer with NaN in the examples that `choose` selects."""

    def __init__(self, family, source):
        self.source = source(streamed=True)
        self.bad = set()

        def take(indices):
            rows = self.source.take(indices)
            bad = np.isin(indices, list(self.bad))[:, None, None, None]
            return {"image": np.where(bad, np.uint8(POISON), rows["image"])}

        def decode(rows):
            image = self.source.decode(rows)["image"]
            return {"image": jax.numpy.where(rows["image"] == POISON, np.float32("nan"), image)}

        data = dataclasses.replace(self.source, take=take, decode=decode)
        self.trainer = Trainer(family, data, settings_of(), seed=SEED, mesh=make_mesh(1))

    def choose(self, *examples):
        self.bad = set(examples)
        return self.trainer


@pytest.fixture(scope="module")
def poisoned(vqvae, source):
    return Poisoned(vqvae(), source)


def steps_with(example, steps=20):
    """The steps that use an example: one in each epoch of five."""
    return [s for s in range(steps) if example in batch_indices(SEED, s, 40, 8)]


def records_of(workdir):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def states_of(trainer, steps):
    """The initial state and the states after each step, in dispatches of single steps."""
    states = [jax.device_get(trainer.init())]
    for span, batches in trainer.loader.batches([(s, s + 1) for s in range(steps)]):
        states.append(jax.device_get(trainer.dispatch(states[-1], span, batches)[0]))
    return states


def test_a_skipped_step_changes_only_the_counters(poisoned):
    trainer = poisoned.choose(3)
    bad = steps_with(3)
    assert len(bad) == 4
    states = states_of(trainer, 10)
    for step, (old, new) in enumerate(itertools.pairwise(states)):
        assert int(new.step) == step + 1
        assert int(new.skipped) == (1 if step in bad else 0)
        same = [
            np.array_equal(a, b)
            for a, b in zip(jax.tree.leaves(old[1:4]), jax.tree.leaves(new[1:4]), strict=True)
        ]
        assert all(same) if step in bad else not any(same)


def test_training_continues_after_skipped_steps(poisoned, tmp_path):
    trainer = poisoned.choose(3)
    outcome = fit(trainer, settings_of(max_consecutive_nonfinite=2), workdir=tmp_path)
    assert int(outcome.state.step) == 20
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(outcome.state))
    # Records are means over the steps that were taken, so they are finite.
    records = records_of(tmp_path)
    assert [r["step"] for r in records] == [5, 10, 15, 20]
    assert all(v is not None for r in records for v in r.values())
    bad = steps_with(3)
    assert [r["skipped"] for r in records] == [sum(s < r["step"] for s in bad) for r in records]
    assert int(outcome.state.total_skipped) == len(bad) == 4


def test_records_are_means_without_skipped_steps(poisoned, tmp_path):
    trainer = poisoned.choose(3)
    state, nll = trainer.init(), []
    for span, batches in trainer.loader.batches([(s, s + 1) for s in range(5)]):
        state, metrics = trainer.dispatch(state, span, batches)
        nll.append(float(metrics["nll"]))
    assert [i for i, v in enumerate(nll) if np.isnan(v)] == steps_with(3, 5)
    fit(trainer, settings_of(steps=5), workdir=tmp_path)
    np.testing.assert_allclose(records_of(tmp_path)[0]["nll"], np.nanmean(nll), rtol=1e-6)


def test_too_many_consecutive_skipped_steps_are_an_error(poisoned, tmp_path):
    trainer = poisoned.choose(*range(40))
    message = r"step 5: .* not finite in the last 5 steps \(train\.max_consecutive_nonfinite=4\)"
    with pytest.raises(NotFiniteError, match=message):
        fit(trainer, settings_of(max_consecutive_nonfinite=4), workdir=tmp_path)
    with pytest.raises(NotFiniteError, match=r"step 15: .* in the last 15 steps"):
        fit(trainer, settings_of(max_consecutive_nonfinite=12), workdir=tmp_path)
    # With finite data, training resumes from the checkpoint at step 10.
    outcome = fit(poisoned.choose(), settings_of(max_consecutive_nonfinite=12), workdir=tmp_path)
    assert (int(outcome.state.step), int(outcome.state.skipped)) == (20, 0)


def test_a_record_without_a_finite_step_has_nulls(poisoned, tmp_path):
    trainer = poisoned.choose(*range(40))
    initial = jax.device_get(trainer.init())
    outcome = fit(trainer, settings_of(steps=5), workdir=tmp_path)
    (record,) = records_of(tmp_path)
    assert (record["step"], record["nll"], record["grad_norm"]) == (5, None, None)
    assert int(outcome.state.skipped) == record["skipped"] == 5
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(outcome.state)[1:4], initial[1:4])


def test_a_non_finite_update_leaves_the_parameters_unchanged(vqvae, source):
    """The learning rate of the seventh step is NaN, its gradient is finite."""

    def update(updates, step, params=None, **extra):
        rate = jax.numpy.where(step == 6, jax.numpy.nan, -1e-3)
        return jax.tree.map(lambda g: rate * g, updates), step + 1

    family = vqvae()
    tx = optax.GradientTransformation(lambda params: jax.numpy.zeros((), jax.numpy.int32), update)
    family.players["vae"] = family.players["vae"]._replace(tx=tx)
    trainer = Trainer(family, source(), settings_of(), seed=SEED, mesh=make_mesh(1))
    for step, (old, new) in enumerate(itertools.pairwise(states_of(trainer, 10))):
        assert int(new.skipped) == (step == 6)
        pairs = zip(jax.tree.leaves(old.params), jax.tree.leaves(new.params), strict=True)
        same = [np.array_equal(a, b) for a, b in pairs]
        assert all(same) if step == 6 else not any(same)


def test_the_limit_holds_at_every_dispatch(poisoned, tmp_path):
    """Not only where a record is written: that may be many dispatches later."""
    trainer = poisoned.choose(*range(40))
    settings = settings_of(steps=10_000, log_every=10_000, checkpoint_every=0)
    with pytest.raises(NotFiniteError, match=r"step 10: .* in the last 10 steps"):
        fit(trainer, dataclasses.replace(settings, max_consecutive_nonfinite=8), workdir=tmp_path)
    assert records_of(tmp_path) == []


def test_the_number_of_skipped_steps_survives_a_resumption(poisoned, tmp_path):
    trainer = poisoned.choose(3)
    whole = fit(trainer, settings_of(), workdir=tmp_path / "whole")
    fit(trainer, settings_of(steps=10), workdir=tmp_path / "parts")
    parts = fit(trainer, settings_of(), workdir=tmp_path / "parts")
    assert int(parts.state.total_skipped) == int(whole.state.total_skipped) == 4
    assert records_of(tmp_path / "parts") == records_of(tmp_path / "whole")


def test_outcomes_that_are_no_success(poisoned):
    state = jax.device_get(poisoned.trainer.init())
    check_steps_taken(state)  # of a run without any step
    check_steps_taken(state._replace(step=np.int32(5), total_skipped=np.int32(4)))
    with pytest.raises(NotFiniteError, match="all 5 steps were skipped"):
        check_steps_taken(state._replace(step=np.int32(5), total_skipped=np.int32(5)))
    two_models = state._replace(step=np.array([5, 5]), total_skipped=np.array([5, 0]))
    check_steps_taken(two_models)  # one of a sweep has learned
    check_elbo({"elbo": -3.0, "nll": 2.0, "kl": 1.0})
    check_elbo({"accuracy": 0.5})
    for elbo in (np.nan, -np.inf, np.inf):
        with pytest.raises(NotFiniteError, match=r"not finite \(nll inf, kl 1\)"):
            check_elbo({"elbo": elbo, "nll": np.inf, "kl": 1.0})

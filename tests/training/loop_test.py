"""Interrupted and resumed runs against uninterrupted ones, bit-for-bit."""

import json
import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.core.sharding import make_mesh
from vaejax.training import Settings, Trainer, fit
from vaejax.training.checkpoint import Checkpoints


def settings_of(**changes):
    """30 steps in dispatches of 4, which do not divide `log_every`."""
    common = {"steps": 30, "batch_size": 8, "steps_per_dispatch": 4, "log_every": 5}
    return Settings(**common | {"checkpoint_every": 10, "ema_decay": 0.9} | changes)


@pytest.mark.parametrize("per_dispatch", [1, 3, 4, 20, 100])
@pytest.mark.parametrize(("log_every", "checkpoint_every"), [(5, 10), (7, 3), (100, 0), (1, 30)])
def test_spans_end_at_every_step_that_logs_or_saves(per_dispatch, log_every, checkpoint_every):
    settings = Settings(
        steps=61,
        steps_per_dispatch=per_dispatch,
        log_every=log_every,
        checkpoint_every=checkpoint_every,
    )
    spans = list(settings.spans(0))
    stops = [stop for _, stop in spans]
    assert [start for start, _ in spans] == [0, *stops[:-1]]
    assert stops[-1] == 61
    assert all(0 < stop - start <= per_dispatch for start, stop in spans)
    due = {s for s in range(1, 62) if s % log_every == 0 or settings.saves_at(s)}
    assert due <= set(stops)
    for i, start in enumerate(stops):  # a resumed run has the same spans
        assert list(settings.spans(start)) == spans[i + 1 :]


def test_the_first_dispatch_of_a_trillion_planned_steps():
    assert next(settings_of(steps=10**12).spans(10**11)) == (10**11, 10**11 + 4)


def test_the_steps_with_checkpoints():
    assert [s for s in range(1, 31) if settings_of(steps=25).saves_at(s)] == [10, 20, 25, 30]
    assert [s for s in range(1, 31) if settings_of(checkpoint_every=0).saves_at(s)] == [30]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, r"train\.steps must be at least 1, found 0"),
        ({"batch_size": -1}, r"train\.batch_size must be at least 1, found -1"),
        ({"steps_per_dispatch": 0}, r"train\.steps_per_dispatch must be at least 1"),
        ({"log_every": 0}, r"train\.log_every must be at least 1"),
        ({"grad_accumulation_steps": 0}, r"train\.grad_accumulation_steps must be"),
        ({"max_consecutive_nonfinite": 0}, r"train\.max_consecutive_nonfinite must be at least 1"),
        ({"checkpoint_every": -1}, r"train\.checkpoint_every must be at least 0, found -1"),
        ({"keep_last": 0}, r"train\.keep_last must be at least 1, found 0"),
        ({"keep_best": -1}, r"train\.keep_best must be at least 0, found -1"),
        ({"ema_decay": 1.0}, r"train\.ema_decay must be in \[0, 1\), found 1.0"),
    ],
)
def test_invalid_settings_are_rejected(change, message):
    with pytest.raises(ValueError, match=message):
        settings_of(**change)


@pytest.fixture(scope="module")
def trainer(vqvae, source):
    """One compiled program for all tests below."""
    return Trainer(vqvae(), source(), settings_of(), seed=1, mesh=make_mesh(1), binarize="dynamic")


def evaluate(params, step):
    """Metrics that depend on all parameters."""
    total = sum(float(jnp.abs(a).sum()) for a in jax.tree.leaves(params))
    return {"elbo": -total, "step_evaluated": float(step)}


@pytest.fixture(scope="module")
def uninterrupted(trainer, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    outcome = fit(trainer, settings_of(), workdir=workdir, evaluate=evaluate)
    assert not outcome.interrupted
    return jax.device_get(outcome.state), (workdir / "metrics.jsonl").read_bytes()


def assert_same_bits(state, expected):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), expected)


def without_selection(state):
    """What training alone determines: not the record of evaluations, which some runs here lack."""
    none = np.zeros(())
    return jax.device_get(state)._replace(
        best=none, evaluations=none, since_best=none, best_step=none
    )


def records_of(workdir):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def test_records_have_metrics_of_training_and_evaluation(trainer, uninterrupted, tmp_path):
    fit(trainer, settings_of(steps=10), workdir=tmp_path, evaluate=evaluate)
    records = records_of(tmp_path)
    assert [(r["step"], r["split"]) for r in records] == [(5, "train"), (10, "train"), (10, "eval")]
    assert {"nll", "kl", "elbo", "kl/0", "vq", "mse", "perplexity", "grad_norm"} <= set(records[0])
    assert records[2]["step_evaluated"] == 10
    assert uninterrupted[1].startswith((tmp_path / "metrics.jsonl").read_bytes())
    assert list((tmp_path / "tb").glob("events.out.tfevents.*"))


def test_training_without_a_working_directory(trainer, uninterrupted):
    outcome = fit(trainer, settings_of(), evaluate=evaluate)
    assert_same_bits(outcome.state, uninterrupted[0])
    assert outcome.rate > 0


@pytest.mark.parametrize("steps", [10, 20])
def test_resuming_from_a_checkpoint_step(trainer, uninterrupted, tmp_path, steps):
    fit(trainer, settings_of(steps=steps), workdir=tmp_path, evaluate=evaluate)
    outcome = fit(trainer, settings_of(), workdir=tmp_path, evaluate=evaluate)
    assert_same_bits(outcome.state, uninterrupted[0])
    assert (tmp_path / "metrics.jsonl").read_bytes() == uninterrupted[1]


def test_resuming_from_any_step(trainer, uninterrupted, tmp_path):
    for steps in (1, 7, 18, 30):
        outcome = fit(trainer, settings_of(steps=steps), workdir=tmp_path)
    assert_same_bits(without_selection(outcome.state), without_selection(uninterrupted[0]))


def test_a_finished_run_is_not_changed(trainer, tmp_path):
    expected = jax.device_get(fit(trainer, settings_of(steps=10), workdir=tmp_path).state)
    again = fit(trainer, settings_of(steps=10), workdir=tmp_path)
    assert (again.interrupted, again.rate) == (False, 0.0)
    assert_same_bits(again.state, expected)


def pool_threads():
    return {t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")}


@pytest.mark.parametrize("crash", [10, 20, 30])
def test_resuming_after_an_error(trainer, uninterrupted, tmp_path, crash):
    def failing(params, step):
        if step == crash:
            raise OSError("no space left")
        return evaluate(params, step)

    before = pool_threads()
    with pytest.raises(OSError, match="no space left"):
        fit(trainer, settings_of(), workdir=tmp_path, evaluate=failing)
    assert not pool_threads() - before
    records = records_of(tmp_path)
    assert records[-1]["step"] == crash  # written after the last checkpoint
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3')  # a line truncated by a crash

    outcome = fit(trainer, settings_of(), workdir=tmp_path, evaluate=evaluate)
    assert_same_bits(outcome.state, uninterrupted[0])
    assert (tmp_path / "metrics.jsonl").read_bytes() == uninterrupted[1]


class Signalled:
    """A trainer whose process receives a signal while the span that starts at a step runs."""

    def __init__(self, trainer, number, during):
        self.trainer, self.number, self.during = trainer, number, during

    def __getattr__(self, name):
        return getattr(self.trainer, name)

    def dispatch(self, state, span, batches):
        out = self.trainer.dispatch(state, span, batches)
        if span[0] == self.during:
            os.kill(os.getpid(), self.number)
        return out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("during", [0, 12, 25])
def test_resuming_after_a_signal(trainer, uninterrupted, tmp_path, number, during):
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    signalled = Signalled(trainer, number, during)
    outcome = fit(signalled, settings_of(), workdir=tmp_path, evaluate=evaluate)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    stop = {0: 4, 12: 15, 25: 28}[during]
    assert (outcome.interrupted, int(outcome.state.step)) == (True, stop)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.latest() == stop
    checkpoints.close()

    outcome = fit(trainer, settings_of(), workdir=tmp_path, evaluate=evaluate)
    assert not outcome.interrupted
    assert_same_bits(outcome.state, uninterrupted[0])
    assert (tmp_path / "metrics.jsonl").read_bytes() == uninterrupted[1]


def test_a_signal_in_the_last_evaluation_does_not_interrupt(trainer, tmp_path):
    def evaluate_signalled(params, step):
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(params, step)

    outcome = fit(trainer, settings_of(steps=10), workdir=tmp_path, evaluate=evaluate_signalled)
    assert (outcome.interrupted, int(outcome.state.step)) == (False, 10)


def test_one_program_is_compiled(trainer, uninterrupted, tmp_path):
    for steps in (4, 11):
        fit(trainer, settings_of(steps=steps), workdir=tmp_path)
    assert trainer.run._cache_size() == 1  # for spans of all lengths, initial and restored states


def test_single_step_dispatches_give_the_same_state(vqvae, source, uninterrupted):
    settings = settings_of(steps_per_dispatch=1)
    options = {"seed": 1, "mesh": make_mesh(1), "binarize": "dynamic"}
    outcome = fit(Trainer(vqvae(), source(), settings, **options), settings, evaluate=evaluate)
    for a, b in zip(jax.tree.leaves(outcome.state), jax.tree.leaves(uninterrupted[0]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)

"""Schedules at steps where their value is known, and errors about their settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.core import schedules

# Settings, then (step, value) pairs worked out by hand.
KNOWN = [
    ({"kind": "constant", "value": 3.0}, [(0, 3.0), (10**6, 3.0)]),
    (
        {"kind": "delayed", "value": 0.8, "begin": 10, "before": 0.1},
        [(0, 0.1), (9, 0.1), (10, 0.8), (99, 0.8)],
    ),
    ({"kind": "delayed", "value": 2.0, "begin": 3}, [(2, 0.0), (3, 2.0)]),
    (
        {"kind": "linear", "start": 1.0, "end": 5.0, "steps": 100},
        [(0, 1.0), (25, 2.0), (50, 3.0), (100, 5.0), (10**6, 5.0)],
    ),
    (
        {"kind": "linear", "start": 2.0, "end": 0.0, "steps": 10, "begin": 20},
        [(0, 2.0), (20, 2.0), (25, 1.0), (30, 0.0), (31, 0.0)],
    ),
    ({"kind": "linear", "start": 1.0, "end": 2.0, "steps": 0, "begin": 5}, [(5, 1.0), (6, 2.0)]),
    (
        {"kind": "cosine", "start": 4.0, "end": 0.0, "steps": 60, "begin": 40},
        [(0, 4.0), (40, 4.0), (60, 3.0), (70, 2.0), (80, 1.0), (100, 0.0), (500, 0.0)],
    ),
    (
        {"kind": "cyclical", "start": 0.0, "end": 2.0, "period": 40},
        [(0, 0.0), (10, 1.0), (20, 2.0), (39, 2.0), (40, 0.0), (50, 1.0), (410, 1.0)],
    ),
    (
        {"kind": "cyclical", "start": 0.0, "end": 1.0, "period": 100, "ramp": 0.25},
        [(0, 0.0), (20, 0.8), (25, 1.0), (99, 1.0), (120, 0.8)],
    ),
    (
        {"kind": "warmup_cosine", "peak": 2.0, "warmup": 10, "steps": 110, "end": 1.0},
        [(0, 0.0), (5, 1.0), (10, 2.0), (60, 1.5), (110, 1.0), (200, 1.0)],
    ),
    (
        {"kind": "piecewise", "values": (3.0, 1.0, 0.5), "boundaries": (10, 20)},
        [(0, 3.0), (9, 3.0), (10, 1.0), (19, 1.0), (20, 0.5), (10**6, 0.5)],
    ),
]


@pytest.mark.parametrize(("setting", "points"), KNOWN)
def test_values_at_known_steps(setting, points):
    schedule = schedules.schedule(setting)
    traced = jax.jit(lambda step: jnp.asarray(schedule(step), jnp.float32))
    for step, want in points:
        np.testing.assert_allclose(schedule(step), want, atol=1e-6, err_msg=f"step {step}")
        np.testing.assert_allclose(traced(jnp.int32(step)), want, atol=1e-6, err_msg="traced")


def test_every_schedule_has_known_values():
    assert {setting["kind"] for setting, _ in KNOWN} == set(schedules.SCHEDULES)


def test_a_number_or_an_array_is_returned_unchanged():
    array = jnp.arange(3.0)
    assert schedules.schedule(0.25) == 0.25
    assert schedules.schedule(array) is array


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"kind": "linaer"}, "unknown kind of schedule 'linaer'.*did you mean 'linear'"),
        ({"start": 1.0}, "unknown kind of schedule 'None'"),
        ({"kind": "linear", "start": 1.0, "end": 2.0}, r"'linear' lacks the settings \['steps'\]"),
        (
            {"kind": "linear", "start": 1.0, "end": 2.0, "step": 4},
            "'linear' has no setting 'step'.*did you mean 'steps'",
        ),
    ],
)
def test_invalid_settings_are_reported(setting, message):
    with pytest.raises(ValueError, match=message):
        schedules.schedule(setting)

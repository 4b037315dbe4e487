"""The oscillator against its differential equation, the filter against the joint Gaussian."""

import jax
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import multivariate_normal

from vaejax import data
from vaejax.data.synthetic.oscillator import kalman_filter, oscillations, transition


def fine_steps(state, period, damping, length, parts=200):
    """States [T, 2] (position, velocity over ω) of ẍ + 2ζω ẋ + ω² x = 0 by Runge-Kutta."""
    w, h = 2 * np.pi / period, 1 / parts

    def slope(s):
        return np.array([s[1], -2 * damping * w * s[1] - w * w * s[0]])

    s, states = np.array([state[0], w * state[1]]), []
    for t in range(length * parts):
        if t % parts == 0:
            states.append([s[0], s[1] / w])
        k1 = slope(s)
        k2 = slope(s + h / 2 * k1)
        k3 = slope(s + h / 2 * k2)
        s = s + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(s + h * k3))
    return np.array(states)


@pytest.mark.parametrize(("period", "damping"), [(20.0, 0.02), (7.3, 0.3), (50.0, 0.0)])
def test_without_drive_the_states_solve_the_equation(period, damping):
    _, truth = oscillations(3, 5, length=60, period=period, damping=damping, drive=0.0)
    for states in truth.astype(np.float64):
        expected = fine_steps(states[0], period, damping, 60)
        np.testing.assert_allclose(states, expected, atol=2e-6)
    energy = np.square(truth).sum(axis=-1)
    if damping == 0:
        np.testing.assert_allclose(energy, energy[:, :1] * np.ones((1, 60)), rtol=1e-5)
    else:
        assert (np.diff(energy, axis=1) < 0).all()


def test_the_transition_is_the_integral_of_the_equation():
    """Van Loan's block exponential gives A and Q of any linear stochastic equation."""
    period, damping, drive = 13.0, 0.15, 0.7
    w = 2 * np.pi / period
    drift = np.array([[0, w], [-w, -2 * damping * w]])
    force = np.diag([0, drive**2 * 4 * damping * w])
    block = expm(np.block([[-drift, force], [np.zeros((2, 2)), drift.T]]))
    a, q = transition(period, damping, drive)
    np.testing.assert_allclose(a, block[2:, 2:].T, atol=1e-13)
    np.testing.assert_allclose(q, block[2:, 2:].T @ block[:2, 2:], atol=1e-13)


def test_the_states_are_stationary_and_the_noise_has_its_variance():
    signal, truth = oscillations(20_000, 1, length=30, damping=0.2, noise=0.3)
    assert (signal.shape, truth.shape) == ((20_000, 30, 1), (20_000, 30, 2))
    assert signal.dtype == truth.dtype == np.float32
    for t in (0, 10, 29):
        np.testing.assert_allclose(np.cov(truth[:, t].T), np.eye(2), atol=0.05)
    error = signal[..., 0] - truth[..., 0]
    np.testing.assert_allclose(error.var(axis=0), 0.3, rtol=0.05)
    neighbours = np.mean(error[:, 1:] * error[:, :-1])
    assert abs(neighbours) < 0.005


def test_steps_have_the_covariance_of_the_transition():
    _, truth = oscillations(20_000, 2, length=2, period=9.0, damping=0.3)
    a, q = transition(9.0, 0.3)
    step = truth[:, 1] - truth[:, 0] @ a.T
    np.testing.assert_allclose(np.cov(step.T), q, atol=0.02)
    np.testing.assert_allclose(step.T @ truth[:, 0] / len(step), 0.0, atol=0.03)


def test_the_filter_equals_conditioning_of_the_joint_gaussian():
    length, settings = 6, {"period": 8.0, "damping": 0.1, "noise": 0.4, "drive": 0.8}
    signal, _ = oscillations(4, 3, length=length, **settings)
    a, q = transition(8.0, 0.1, 0.8)
    covariance, marginal = np.zeros((2 * length, 2 * length)), np.eye(2)
    for t in range(length):
        lag = marginal
        for s in range(t, length):
            covariance[2 * s : 2 * s + 2, 2 * t : 2 * t + 2] = lag
            covariance[2 * t : 2 * t + 2, 2 * s : 2 * s + 2] = lag.T
            lag = a @ lag
        marginal = a @ marginal @ a.T + q
    positions = covariance[::2, ::2] + 0.4 * np.eye(length)
    means, covariances, log_p = kalman_filter(signal, **settings)
    y = signal[..., 0].astype(np.float64)
    np.testing.assert_allclose(
        log_p, multivariate_normal(np.zeros(length), positions).logpdf(y), rtol=1e-10
    )
    for t in range(length):
        observed = slice(0, t + 1)
        cross = covariance[2 * t : 2 * t + 2, 0 : 2 * t + 2 : 2]
        gain = cross @ np.linalg.inv(positions[observed, observed])
        np.testing.assert_allclose(means[:, t], y[:, observed] @ gain.T, atol=1e-10)
        conditional = covariance[2 * t : 2 * t + 2, 2 * t : 2 * t + 2] - gain @ cross.T
        np.testing.assert_allclose(covariances[t], conditional, atol=1e-10)


def test_filtering_is_more_accurate_than_a_single_observation():
    """With the source's settings, past observations carry most of the information."""
    signal, truth = oscillations(2000, 4)
    means, covariances, _ = kalman_filter(signal)
    error = np.square(means[:, 100:, 0] - truth[:, 100:, 0])
    np.testing.assert_allclose(error.mean(), covariances[-1, 0, 0], rtol=0.03)
    assert error.mean() < 0.5 * (0.5 / 1.5)  # the error given one observation: noise/(1+noise)


def test_the_source_has_these_signals():
    train, held = (data.load("oscillator", split) for split in ("train", "eval"))
    assert (train.size, held.size) == (10_000, 1000)
    batch = jax.device_get(jax.jit(held.decode)(held.take(np.array([7, 2]))))
    assert {k: v.shape for k, v in batch.items()} == {
        "signal": (2, 200, 1), "truth": (2, 200, 2)
    }  # fmt: skip
    assert batch["truth"].dtype == np.float32
    signal, truth = oscillations(1000, 1)
    np.testing.assert_array_equal(batch["signal"], signal[[7, 2]])
    np.testing.assert_array_equal(batch["truth"], truth[[7, 2]])
    train_states = {states.tobytes() for states in train.arrays["truth"]}
    assert len(train_states) == 10_000
    assert not train_states & {states.tobytes() for states in held.arrays["truth"]}
    exact = data.load("oscillator:noise=0,drive=0,damping=0,period=10,length=31", "eval").arrays
    np.testing.assert_array_equal(exact["signal"][..., 0], exact["truth"][..., 0])
    np.testing.assert_allclose(exact["signal"][:, 30], exact["signal"][:, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("noise=-1", "noise must be at least 0"),
        ("damping=1", "damping must be in"),
        ("period=1", "period must be at least 2"),
        ("noise=nan", "noise must be a finite number"),
        ("length=0", "length must be at least 1"),
    ],
)
def test_invalid_settings_are_rejected(setting, message):
    with pytest.raises(ValueError, match=message):
        data.load(f"oscillator:{setting}")

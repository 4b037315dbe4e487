"""Regressions are ratios to the record of the same kind of machine."""

import jax
import pytest

from benchmarks.regressions import in_products, slower


def test_a_slower_machine_is_no_regression_but_a_slower_step_is():
    recorded = {"products per step": 4.0}
    assert slower({"products per step": 4.0}, recorded) == 1.0
    assert slower({"products per step": 5.0}, recorded) == 1.25
    assert slower({"products per step": 5.0}, None) is None
    assert slower({"products per step": 5.0}, {"ms_per_step": {}}) is None  # of an older record


def test_processor_time_decides_where_it_is_recorded():
    recorded = {"products per step": 4.0, "processor products per step": 3.0}
    assert slower(
        {"products per step": 8.0, "processor products per step": 3.6}, recorded
    ) == pytest.approx(1.2)
    assert slower({"products per step": 8.0}, recorded) == 2.0


def test_a_step_of_two_products_takes_two():
    matrix = jax.random.normal(jax.random.key(1), (512, 512))
    multiply = jax.jit(lambda a: a @ a)

    def run():
        calls.append(None)
        for _ in range(20):
            multiply(matrix).block_until_ready()

    calls = []
    times = in_products(run, 10, 8, size=512)
    assert len(calls) == 9  # one to compile
    assert 1.0 < times["processor products per step"] < 4.0  # the clock is coarse

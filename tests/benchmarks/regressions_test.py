"""Regressions are ratios to the record of the same kind of machine."""

from benchmarks.regressions import slower


def test_a_slower_machine_is_no_regression_but_a_slower_step_is():
    recorded = {"products per step": 4.0}
    assert slower({"products per step": 4.0}, recorded) == 1.0
    assert slower({"products per step": 5.0}, recorded) == 1.25
    assert slower({"products per step": 5.0}, None) is None
    assert slower({"products per step": 5.0}, {"ms_per_step": {}}) is None  # of an older record

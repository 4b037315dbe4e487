"""Metrics by name."""

import pytest

from vaejax.core import registry
from vaejax.core.registry import register
from vaejax.evaluation.metric import EvaluationContext, compute_metrics, metrics_named

CONTEXT = EvaluationContext(None, {}, None, None, 7, 4, 0, "none")


@pytest.fixture(autouse=True)
def three_metrics(monkeypatch):
    monkeypatch.setitem(registry._TABLES, "metric", {})
    monkeypatch.setattr(registry, "_FILES", set(registry._FILES))

    @register("metric", "step")
    class Step:
        def requires(self, family, source):
            return None

        def compute(self, context):
            return {"step_of": context.step}

    @register("metric", "again")
    class Again(Step):
        pass

    @register("metric", "never")
    class Never(Step):
        def requires(self, family, source):
            return "the data has no factors"


def test_the_numbers_of_several_metrics():
    assert compute_metrics(" step ", CONTEXT) == {"step_of": 7.0}
    assert compute_metrics("", CONTEXT) == {}


def test_what_does_not_apply_is_reported_before_anything_is_computed():
    with pytest.raises(ValueError, match="'never' does not apply here: the data has no factors"):
        metrics_named("step,never", None, None)
    with pytest.raises(ValueError, match=r"unknown metric 'stepp'.*did you mean 'step'"):
        metrics_named("stepp", None, None)


def test_names_of_two_metrics_must_differ():
    with pytest.raises(ValueError, match=r"return \['step_of'\]"):
        compute_metrics("step,again", CONTEXT)

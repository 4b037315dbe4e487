"""Metrics by name."""

import pytest

from vaejax.core import registry
from vaejax.core.registry import register
from vaejax.evaluation import EvaluateOptions, EvaluationContext
from vaejax.evaluation.metric import check_metrics, compute_metrics


def compute(names):
    options = EvaluateOptions(metrics=names)
    return compute_metrics(EvaluationContext(None, {}, None, step=7, options=options), ())


@pytest.fixture(autouse=True)
def three_metrics():
    with registry.isolated():
        register_three()
        yield


def register_three():
    @register("metric", "step")
    class Step:
        def requires(self, family, source):
            return None

        def compute(self, context):
            return {"step_of": context.step}

    @register("metric", "again")
    class Again(Step):
        def compute(self, context):
            return {"step_of": context.step + 1}

    @register("metric", "never")
    class Never(Step):
        def requires(self, family, source):
            return "the data has no factors"


def test_the_numbers_of_several_metrics():
    assert compute(" step ") == {"step_of": 7.0}
    assert compute("") == {}


def test_what_does_not_apply_is_reported_before_anything_is_computed():
    with pytest.raises(ValueError, match=r"=never.*the data has no factors"):
        check_metrics(None, None, EvaluateOptions("step,never"))
    with pytest.raises(ValueError, match=r"'stepp'.*did you mean 'step'"):
        check_metrics(None, None, EvaluateOptions("stepp"))


def test_names_of_two_metrics_must_differ():
    with pytest.raises(ValueError, match=r"'again'.*\['step_of'\]"):
        compute("step,again")

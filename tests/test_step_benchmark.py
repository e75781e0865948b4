"""The benchmark of a step measures what it says: the same passes, once bare and once in a real step."""

from experiments.benchmarks.step import Step, measure
from scl_core.config import load_config
from tests.tiny import tiny_settings


def test_bare_passes_are_those_of_the_step():
    step = Step(load_config([], tiny_settings()))
    calls = step.record()
    assert [(call.with_gradient, call.training) for call in calls] == [(True, True), (False, False)]
    assert [len(call.inputs[0]) for call in calls] == [4, 4]
    before = len(calls)
    assert step.bare(calls) > 0 and len(calls) == before
    assert step.method.student.classifier.weight.grad is not None


def test_row_of_a_method():
    row = measure(load_config([], tiny_settings(method__name="rc2l")), repeats=1)
    assert row["step_seconds"] > 0 and row["memory_bytes"] > 0
    assert set(row["anatomy"]) == {"networks", "losses", "data", "read", "optimizer", "teacher"}

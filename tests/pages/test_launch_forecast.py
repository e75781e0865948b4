"""The forecast on the launch page: memory by the trainer's own function, time from an earlier run alike."""

from dataclasses import replace

from pages.shared import launch_forecast
from pages.shared.words import duration
from scl_core.config import load_config, to_dict
from scl_core.storage.plain_yaml import to_yaml
from scl_core.training import forecast as forecasts
from scl_core.training.forecast import forecast, size
from scl_core.training.step_time import StepTimer
from tests.fake_runs import write_json, write_run
from tests.pages.conftest import run
from tests.tiny import tiny_settings

LAUNCH = "pages/runs/launch.py"


def test_memory_and_time_are_asked_for_and_told_without_an_earlier_run(runs, visit, monkeypatch):
    monkeypatch.setattr(StepTimer, "seconds", lambda self, pictures, crop: 0.5)
    app = visit(LAUNCH)
    assert not app.metric
    app.toggle(key="forecast").set_value(True)
    run(app)
    config = load_config(["experiments/scenes/scl.yaml"])
    assert [metric.value for metric in app.metric] == [size(forecast(config).peak), duration(0.5 * config.train.steps)]
    assert "0.50 s a step, from small steps" in app.metric[1].help and not app.info


def test_an_accelerators_time_is_unknown_without_an_earlier_run(runs, visit, monkeypatch):
    monkeypatch.setattr(forecasts, "step_seconds", lambda *about: None)
    app = visit(LAUNCH)
    app.toggle(key="forecast").set_value(True)
    run(app)
    assert len(app.metric) == 1 and "No earlier run" in app.info[0].value


def test_the_time_is_that_of_an_earlier_run_whose_steps_cost_the_same(runs):
    config = load_config([], tiny_settings(seed=3))
    folder = write_run(runs, "before")
    (folder / "config.yaml").write_text(to_yaml(to_dict(config) | {"seed": 0}))
    assert launch_forecast.paced_like(config, 1) is None, "a run without its process was trained elsewhere"
    write_json(folder / "process.json", {})
    name, seconds = launch_forecast.paced_like(config, 1)
    assert name == "before" and 0.3 < seconds < 0.5
    assert launch_forecast.paced_like(config, 2) is None
    wider = replace(config, model=replace(config.model, width=0.5))
    assert launch_forecast.paced_like(wider, 1) is None

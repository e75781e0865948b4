"""The forecast on the launch page: memory by the trainer's own function, time from an earlier run alike."""

from dataclasses import replace

from pages.shared import launch_forecast
from scl_core.config import load_config, to_dict
from scl_core.storage.plain_yaml import to_yaml
from scl_core.training.forecast import forecast, size
from tests.fake_runs import write_json, write_run
from tests.pages.conftest import run
from tests.tiny import tiny_settings

LAUNCH = "pages/runs/launch.py"


def test_memory_is_asked_for_and_time_is_unknown_without_an_earlier_run(runs, visit):
    app = visit(LAUNCH)
    assert not app.metric
    app.toggle(key="forecast").set_value(True)
    run(app)
    config = load_config(["experiments/scenes/scl.yaml"])
    assert [metric.value for metric in app.metric] == [size(forecast(config).peak)]
    assert "No earlier run" in app.info[0].value


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

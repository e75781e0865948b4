"""The memory forecast against what torch's allocator counts in a real step."""

from dataclasses import replace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._pytree import tree_leaves

from scl_core.command_line import run_command
from scl_core.config import load_config
from scl_core.data.loaders import training_loader
from scl_core.data.sources import open_data
from scl_core.distributed import World
from scl_core.methods import StepDraws
from scl_core.models.passes import Passes, computing
from scl_core.restore import build_method
from scl_core.train import main as train
from scl_core.train import weighted_sum
from scl_core.training import forecast as forecasts
from scl_core.training import memory, step_time
from scl_core.training.optimizer import build_optimizer
from scl_core.training.small_steps import from_small_steps
from scl_core.training.step_time import StepTimer
from tests.conftest import ROOT
from tests.tiny import tiny_options, tiny_settings

PRESETS = {
    "scl": {},
    "supervised": {"train.batch_labeled": 8, "train.optimizer": "adamw"},
    "unimatch": {"train.accumulate": 2},
    "mean_teacher": {"train.precision": "bf16"},
}


def measured_peak(config) -> int:
    """Bytes at the peak of the second step, by the allocator's own events, with what lived before it."""
    source = open_data(config.data)
    method = build_method(config, len(source.class_names))
    optimizer = build_optimizer(method, config.train)
    strong = method.num_strong
    batches = training_loader(source, config.data, config.augment, config.train, 0, World(), 1, strong > 0, strong)
    batch = next(iter(batches))
    passes = Passes(torch.bfloat16 if config.train.precision == "bf16" else None, config.train.accumulate)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with computing(passes):
            terms = method(batch, StepDraws(0, config.train.steps))
        weighted_sum(terms, method.weights(config.train.steps)).backward()
        optimizer.step()

    step()
    optimizer.zero_grad(set_to_none=True)
    parts = [vars(batch), *(vars(views) for views in (batch.unlabeled_a, batch.unlabeled_b) if views)]
    alive = [*method.parameters(), *method.buffers(), *tree_leaves(parts), *tree_leaves(dict(optimizer.state))]
    live = peak = sum(item.nbytes for item in alive if isinstance(item, torch.Tensor))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


@pytest.mark.parametrize("name", PRESETS)
def test_forecast_is_within_a_quarter_of_the_allocators_peak(name):
    file = ROOT / "experiments" / "scenes" / f"{name}.yaml"
    config = load_config([file], {"data.unlabeled": 8, "device": "cpu"} | PRESETS[name])
    found = forecasts.forecast(config)
    assert found.peak == pytest.approx(measured_peak(config), rel=0.25)
    assert found.seconds is None and "a process" in str(found)


def test_step_that_does_not_fit_is_refused_with_a_cut_that_does(tmp_path, monkeypatch, capsys):
    options = {"train__batch_labeled": 4, "train__batch_unlabeled": 4, "data__height": 64}
    peaks = []
    for parts in (1, 2):
        words = dict(zip(*[iter(tiny_options(tmp_path, train__accumulate=parts, **options))] * 2, strict=True))
        del words["--run_dir"]
        settings = {key.removeprefix("--"): value for key, value in words.items()}
        peaks.append(forecasts.forecast(load_config([], settings)).peak)
    assert peaks[1] < peaks[0]
    monkeypatch.setattr(memory, "memory_limit", lambda device: sum(peaks) // 2)
    assert run_command(train, tiny_options(tmp_path / "run", **options)) == 2
    error = capsys.readouterr().err
    assert "a training step needs about" in error and "--train.accumulate 2 fits" in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(memory, "memory_limit", lambda device: 1000)
    assert run_command(train, tiny_options(tmp_path / "run", **options)) == 2
    assert "no cut of the batch fits" in capsys.readouterr().err


def test_forecast_draws_nothing_and_changes_nothing(tmp_path):
    config = load_config([], {"data.height": 32, "data.width": 48, "data.unlabeled": 4, "model.width": 0.25})
    source = open_data(config.data)
    method = build_method(config, len(source.class_names))
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    state = torch.get_rng_state()
    forecasts.forecast_method(method, config, source, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())


def test_split_weights_take_their_share_and_what_is_gathered_at_once():
    settings = {"data.height": 32, "data.width": 48, "data.unlabeled": 4, "model.decoder_channels": 8}
    found = {
        (split, processes): forecasts.forecast(load_config([], settings | {"train.shard": split}), processes=processes)
        for split in ("false", "true")
        for processes in (1, 2)
    }
    plain, split = found["false", 2], found["true", 2]
    assert found["true", 1] == found["false", 1]
    assert split.optimizer == plain.optimizer // 2 and split.gradients == plain.gradients // 2
    assert plain.weights // 2 < split.weights < plain.weights


def test_the_time_of_a_step_is_asked_for():
    config = load_config([], {"data.height": 32, "data.width": 48, "data.unlabeled": 4, "model.width": 0.25})
    threads = torch.get_num_threads()
    found = forecasts.forecast(config, timed=True)
    assert found.seconds > 0 and torch.get_num_threads() == threads
    assert forecasts.forecast(config) == replace(found, seconds=None)


@pytest.mark.parametrize(("pictures", "crop"), [((2, 2), (64, 64)), ((8, 8), (512, 256)), ((4, 0), (720, 960))])
def test_what_grows_with_the_pixels_is_found_from_small_steps(pictures, crop):
    def cost(few, size):
        return 7.0 + 3e-6 * sum(few) * size[0] * size[1]

    assert from_small_steps(cost, pictures, crop, accumulate=1) == pytest.approx(cost(pictures, crop))


def test_the_time_of_a_step_is_the_mean_over_warm_start_and_the_rest(monkeypatch):
    monkeypatch.setattr(StepTimer, "seconds", lambda self, pictures, crop: 1.0 if self.number == 1 else 3.0)
    settings = tiny_settings(method__name="mean_teacher", train__steps=100)
    for start, mean in ((0.0, 3.0), (0.25, 2.5)):
        config = load_config([], settings | {"method.start": start})
        assert forecasts.forecast(config, timed=True).seconds == pytest.approx(mean)
    alone = load_config([], tiny_settings(method__name="supervised"))
    assert forecasts.forecast(alone, timed=True).seconds == pytest.approx(3.0)


@pytest.mark.parametrize("name", ["scl", "pcr", "unimatch"])
def test_both_kinds_of_steps_are_really_taken(monkeypatch, name):
    taken = []
    step = StepTimer.step
    monkeypatch.setattr(StepTimer, "step", lambda self, batch: taken.append(self.number) or step(self, batch))
    monkeypatch.setattr(step_time, "ENOUGH_SECONDS", 0.0)
    config = load_config([], tiny_settings(method__name=name, method__start=0.5, train__steps=9))
    assert forecasts.forecast(config, timed=True).seconds > 0 and set(taken) == {1, 9}

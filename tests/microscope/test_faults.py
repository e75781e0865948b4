"""The insight test: five planted faults and a sound run, trained as committed; each check finds its own fault."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from experiments import leaking_data
from scl_core.command_line import run_command
from scl_core.config import load_config
from scl_core.data.sources import open_data
from scl_core.methods.scl import SclConfig
from scl_core.microscope.health import (
    LOOK,
    SOUND,
    UNKNOWN,
    Health,
    classes_per_box,
    examine,
    judge_confidence,
    judge_overlap,
    judge_terms,
    pulls,
    shared_pictures,
)
from scl_core.microscope.health.teacher import batch_norm_distances
from scl_core.models import build_segmenter
from scl_core.train import main as train
from tests.conftest import ROOT

FAULTS = ROOT / "experiments" / "faults"
CHECKS = {"swamped": "Terms", "stale": "Teacher", "saturated": "Confidence", "leaking": "Lists", "tiny_boxes": "Boxes"}


@pytest.fixture(scope="module")
def examined(tmp_path_factory) -> dict[str, Health]:
    """Every committed config trained and examined."""
    folder = tmp_path_factory.mktemp("faults")
    leaking_data.main(str(folder / "data"))
    found = {}
    for name in ("sound", *CHECKS):
        options = ["--config", str(FAULTS / f"{name}.yaml"), "--run_dir", str(folder / name), "--device", "cpu"]
        options += ["--train.threads", "1", *(["--data.root", str(folder / "data")] if name == "leaking" else [])]
        assert run_command(train, options) == 0
        found[name] = examine(folder / name)
    return found


def verdicts(health: Health) -> dict[str, str]:
    return {finding.check: finding.verdict for finding in health.findings}


def test_a_sound_run_is_called_sound_by_every_check(examined):
    assert verdicts(examined["sound"]) == dict.fromkeys(CHECKS.values(), SOUND)


@pytest.mark.parametrize("fault", CHECKS)
def test_the_right_check_and_no_other_speaks_up_for_each_fault(examined, fault: str):
    asking = [check for check, verdict in verdicts(examined[fault]).items() if verdict == LOOK]
    assert asking == [CHECKS[fault]]
    finding = next(item for item in examined[fault].findings if item.check == CHECKS[fault])
    assert finding.advice and finding.meaning and finding.number != "–"


def test_every_fault_has_a_config_and_every_config_is_tested():
    assert {path.stem for path in FAULTS.glob("*.yaml")} == {"base", "sound", *CHECKS}


def test_the_copies_are_found_by_what_they_show(examined):
    found = examined["leaking"].lists.found
    assert {overlap.trained[:2] for overlap in found} == {("labeled", place) for place in (3, 4, 5)}
    assert {overlap.evaluated[:2] for overlap in found} == {("test", place) for place in (0, 1, 2)}
    assert not any(overlap.same_name for overlap in found)
    first, second = (Path(place[2]).read_bytes() for place in (found[0].trained, found[0].evaluated))
    assert first != second


def test_resized_copies_are_found_and_other_pictures_are_not(tiny_folder):
    names = sorted((tiny_folder / "images").iterdir())
    with Image.open(names[7]) as picture:
        picture.resize((96, 72)).save(tiny_folder / "images" / "other.jpg", quality=90)
    lines = {"labeled": [0, 1], "unlabeled": [4, 5], "val": [2, 3]}
    for name, places in lines.items():
        both = [f"images/{place:03d}.png\tmasks/{place:03d}.png" for place in places]
        (tiny_folder / f"{name}.txt").write_text("\n".join(both if name != "unlabeled" else [b[:14] for b in both]))
    config = load_config([], {"data.root": str(tiny_folder)}).data
    clean = shared_pictures(open_data(config))
    assert not clean.found and clean.nearest.likeness < 0.98 and judge_overlap(clean).verdict == SOUND
    (tiny_folder / "unlabeled.txt").write_text("images/004.png\nimages/other.jpg\n")
    (tiny_folder / "val.txt").write_text("images/002.png\tmasks/002.png\nimages/007.png\tmasks/002.png\n")
    leaked = shared_pictures(open_data(config))
    assert [(item.trained[:2], item.evaluated[:2]) for item in leaked.found] == [(("unlabeled", 1), ("val", 1))]


def test_pulls_add_the_norms_of_all_unlabeled_terms():
    rows = [
        {"step": 10, "gradient/supervised": 2.0, "gradient/consistency": 3.0, "gradient/structured": 1.0},
        {"step": 15},
        {"step": 20, "gradient/supervised": 1.0, "gradient/consistency": None, "gradient/structured": 5.0},
    ]
    found = pulls(rows)
    assert found.steps.tolist() == [10, 20] and found.ratios.tolist() == [2.0, 5.0]
    assert judge_terms(found).verdict == LOOK and "At step 20" in judge_terms(found).meaning
    assert judge_terms(pulls(rows[:2])).verdict == SOUND
    assert judge_terms(pulls([])).verdict == UNKNOWN and "gradient_terms_every" in judge_terms(pulls([])).advice


def test_batch_norm_distance_is_in_standard_deviations():
    torch.manual_seed(0)
    first, second = (build_segmenter("mobilenet_v2", 3, decoder_channels=8, width=0.25) for _ in range(2))
    assert batch_norm_distances(first, second).max() == 0
    for norm in (part for part in second.modules() if isinstance(part, torch.nn.BatchNorm2d)):
        norm.running_var.fill_(4.0)
        norm.running_mean.fill_(1.0)
    assert batch_norm_distances(first, second) == pytest.approx(0.5, rel=1e-4)


def test_classes_per_box_equal_a_slow_count():
    label = np.zeros((24, 36), dtype=np.int64)
    label[12:], label[:, 30:] = 1, 255
    settings = SclConfig(num_boxes=5, num_loss_boxes=3)
    found = classes_per_box([label], settings, seed=3, draws=1)
    slow = []
    for number in (2, 3, 4):
        inside = [int(label[place]) for place in zip(*np.nonzero(found.owner == number), strict=True)]
        known = [value for value in inside if value != 255]
        if known:
            unlike = sum(a != b for a in known for b in known) / len(known) ** 2
            slow.append((len(set(known)), len(known), pytest.approx(unlike)))
    assert list(zip(found.classes, found.pixels, found.unlike, strict=True)) == slow and slow
    with pytest.raises(ValueError, match="no label"):
        classes_per_box([], settings, seed=0)


def test_one_hot_predictions_are_saturated_and_soft_ones_are_not():
    assert judge_confidence(np.full(100, 1.0), 4).verdict == LOOK
    assert judge_confidence(np.concatenate([np.full(80, 1.0), np.full(20, 0.6)]), 4).verdict == SOUND


def test_a_network_that_prefers_no_class_is_not_praised_for_it():
    even, sharp = judge_confidence(np.full(100, 0.26), 4), judge_confidence(np.full(100, 0.7), 4)
    assert even.verdict == sharp.verdict == SOUND
    assert "tells no classes apart" in even.meaning and "tells no classes apart" not in sharp.meaning

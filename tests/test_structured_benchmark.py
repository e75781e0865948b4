"""The benchmark of the structured loss runs, at sizes that take no time; no time is asserted."""

import torch

from experiments.benchmarks import structured_loss
from experiments.benchmarks.plain_sampled import plain_sampled_loss
from scl_core.losses import structured_consistency_loss


def test_every_part_gives_its_numbers(monkeypatch):
    monkeypatch.setattr(structured_loss, "CROP", 60)
    monkeypatch.setattr(structured_loss, "BOXES", 1)
    monkeypatch.setattr(structured_loss, "SIDE", 20)
    monkeypatch.setattr(structured_loss, "PAIRS", 30)
    monkeypatch.setattr(structured_loss, "WHOLE", [(8, 8), (16, 16), (8, 20), (20, 30)])
    boxes = structured_loss.time_of_boxes("cpu", 1)
    assert {"exact", "drawn", "plain", "pixel-wise", "exact / drawn", "exact / pixel-wise"} <= boxes.keys()
    result = {"boxes": boxes, "boxes, freed memory kept": boxes}
    result |= {"whole": structured_loss.time_of_whole("cpu", 1), "memory": structured_loss.memory_of_box()}
    assert "| exact / plain |" in structured_loss.table(result) and "| 600 |" in structured_loss.table(result)


def test_the_plain_opponent_estimates_the_same_loss():
    student, teacher = structured_loss.predictions(30, 40)
    owner = torch.full((1, 30, 40), -1)
    owner[:, 4:20, 5:30], owner[:, 15:28, 20:38] = 0, 1
    exact = structured_consistency_loss(student, teacher, owner, 2, 2)
    assert abs(plain_sampled_loss(student, teacher, owner, 2, 200_000) / exact - 1) < 0.05

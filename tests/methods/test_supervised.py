"""The control: cross entropy on labeled pictures, and CutMix among them with their labels alike."""

from types import SimpleNamespace

import pytest
import torch

from scl_core.cutmix import box_owner, sample_boxes
from scl_core.methods import METHODS, StepDraws
from scl_core.methods.supervised import SupervisedConfig
from scl_core.seeding import generator_for

HEIGHT, WIDTH = 12, 16


class FirstPixels(torch.nn.Module):
    """A network whose logits are the picture's own channels."""

    def forward(self, images):
        return SimpleNamespace(logits=images)


def labeled_batch(pictures: int, first: int = 0):
    """Picture p holds p everywhere, and so does its mask."""
    numbers = torch.arange(first, first + pictures)
    images = numbers.view(-1, 1, 1, 1).expand(-1, 3, HEIGHT, WIDTH).double().contiguous()
    labels = numbers.view(-1, 1, 1).expand(-1, HEIGHT, WIDTH).contiguous()
    return SimpleNamespace(images=images, labels=labels, label_positions=tuple(range(first, first + pictures)))


def mixing(num_boxes: int):
    return METHODS["supervised"](torch.nn.Identity(), SupervisedConfig(num_boxes=num_boxes), 10)


@pytest.mark.parametrize("pictures", [1, 2, 3, 4])
def test_neighbours_exchange_boxes_of_pictures_and_labels_alike(pictures):
    images, labels = mixing(3).mixed(labeled_batch(pictures), StepDraws(0, 5))
    for position in range(pictures):
        owner = box_owner(
            sample_boxes(HEIGHT, WIDTH, 3, 0.5, "union", generator_for(0, 5, position, "labeled boxes")), HEIGHT, WIDTH
        )
        neighbour = position ^ 1 if position ^ 1 < pictures else position
        expected = torch.where(owner >= 0, neighbour, position)
        assert torch.equal(labels[position], expected)
        assert torch.equal(images[position], expected.double().expand(3, -1, -1))


def test_two_processes_mix_what_one_mixes():
    whole = mixing(2).mixed(labeled_batch(4), StepDraws(1, 1))
    parts = [mixing(2).mixed(labeled_batch(2, first), StepDraws(1, 1)) for first in (0, 2)]
    for index in range(2):
        assert torch.equal(whole[index], torch.cat([part[index] for part in parts]))


def test_without_boxes_the_pictures_stay_whole():
    batch = labeled_batch(2)
    batch.labels = torch.zeros_like(batch.labels)
    plain = METHODS["supervised"](FirstPixels(), SupervisedConfig(), 10)(batch, StepDraws(0, 1))
    expected = torch.nn.functional.cross_entropy(batch.images, batch.labels)
    assert plain["supervised"].item() == pytest.approx(expected.item())

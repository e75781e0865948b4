"""The first prototypes: k-means on clusters that are known, and which pixels it is given."""

import pytest
import torch
from torch import nn

from scl_core.losses.prototype import gather_features
from scl_core.methods.prototype_start import class_prototypes, features_by_class, first_prototypes, k_means
from scl_core.models.deeplabv3plus import SegmenterOutput

CENTRES = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clusters(each=50):
    return torch.cat([centre + 0.1 * torch.randn(each, 2) for centre in CENTRES])


@pytest.mark.parametrize("seed", range(5))
def test_separate_clusters_are_found(seed):
    points = clusters()
    found = k_means(points, 4, generator(seed))
    expected = points.view(4, 50, 2).mean(1)
    assert sorted(torch.cdist(found, expected).argmin(1).tolist()) == [0, 1, 2, 3]
    torch.testing.assert_close(found[torch.cdist(expected, found).argmin(1)], expected)


def test_every_centre_is_the_mean_of_its_points():
    points = torch.randn(300, 5)
    found = k_means(points, 6, generator())
    nearest = torch.cdist(points, found).argmin(1)
    torch.testing.assert_close(found, torch.stack([points[nearest == k].mean(0) for k in range(6)]))


def test_one_seed_one_result():
    points = clusters()
    assert torch.equal(k_means(points, 3, generator(1)), k_means(points, 3, generator(1)))


def test_equal_points_give_equal_centres():
    assert torch.equal(k_means(torch.ones(9, 2), 3, generator()), torch.ones(3, 2))


def test_few_features_are_repeated_with_a_little_noise():
    points = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    found = class_prototypes(points, (5, 2), generator())
    assert torch.equal(found[:2], points)
    assert 0 < (found[2:] - points[[0, 1, 0]]).abs().max() < 0.1


def test_a_class_without_features_gets_random_vectors():
    found = class_prototypes(torch.empty(0), (400, 3), generator())
    assert found.shape == (400, 3) and abs(found.mean()) < 0.1 and abs(found.std() - 1) < 0.1


class Color(nn.Module):
    """Features are the picture's own colours at a quarter of its size; batch norm sees that the mode is eval."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3, affine=True)

    def forward(self, images):
        assert not self.norm.training
        return SegmenterOutput(images, images[:, :, ::4, ::4])


def pictures():
    for number in range(3):
        labels = torch.zeros(9, 13, dtype=torch.int64)
        labels[:, 6:] = 2
        labels[0] = 255
        yield torch.full((3, 9, 13), float(number)) + torch.arange(13), labels


def test_features_are_those_of_random_labeled_pixels_of_each_class():
    network = Color().train()
    zero, one, two = features_by_class(network, pictures(), 3, per_picture=20, per_class=1000, generator=generator())
    assert len(zero) + len(two) == 60 and len(one) == 0 and network.norm.training
    for features, columns in ((zero, range(6)), (two, range(6, 13))):
        allowed = torch.cat(
            [gather_features(image[None, :, ::4, ::4], places(columns), (9, 13))[0] for image, _ in pictures()]
        )
        assert torch.cdist(features, allowed).amin(1).max() < 1e-5


def places(columns):
    return torch.tensor([[row, column] for row in range(1, 9) for column in columns])


def test_a_class_has_no_more_features_than_allowed():
    zero, _, two = features_by_class(Color(), pictures(), 3, per_picture=1000, per_class=70, generator=generator())
    assert len(zero) == len(two) == 70


def test_first_prototypes_have_the_asked_shape():
    found = first_prototypes(Color(), pictures(), (4, 2, 3), 50, 100, generator())
    assert found.shape == (4, 2, 3) and torch.isfinite(found).all()

"""A batch moves as a whole."""

import torch

from scl_core.data.batch import Batch, Views


def make_batch(pairs: bool = True) -> Batch:
    views = Views(
        torch.zeros(2, 3, 4, 5), (torch.ones(2, 3, 4, 5),) * 2, torch.ones(2, 4, 5, dtype=torch.bool), ("c", "d")
    )
    labels = torch.zeros(1, 4, 5, dtype=torch.int64)
    return Batch(torch.zeros(1, 3, 4, 5), labels, ("a",), *((views, views) if pairs else (None, None)), (0, 1), (0,))


def tensors(batch: Batch) -> list[torch.Tensor]:
    views = [view for view in (batch.unlabeled_a, batch.unlabeled_b) if view is not None]
    return [batch.images, batch.labels, *(t for view in views for t in (view.weak, *view.strong, view.valid))]


def test_every_tensor_moves_and_the_rest_stays():
    moved = make_batch().to("meta")
    assert len(tensors(moved)) == 10 and all(tensor.device.type == "meta" for tensor in tensors(moved))
    assert moved.names == ("a",) and moved.unlabeled_b.names == ("c", "d")
    assert (moved.positions, moved.label_positions) == ((0, 1), (0,))


def test_a_batch_without_unlabeled_pictures_moves_too():
    moved = make_batch(pairs=False).to(torch.device("meta"))
    assert moved.unlabeled_a is None and moved.images.device.type == "meta"

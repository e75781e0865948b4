"""Two processes compute what one computes: sums, means, batch norm, gradients, agreement. One pair serves the file."""

import os
import socket

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F

from scl_core import distributed
from scl_core.distributed import AllReduceBatchNorm2d
from scl_core.errors import UserError
from scl_core.models import build_segmenter

IGNORE = 255
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Supervised(nn.Module):
    """The smallest method: sum and count of the cross entropy over the pixels that are not void."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.student = build_segmenter("mobilenet_v2", 5, decoder_channels=16, width=0.35).double()

    def forward(self, images, labels):
        logits = self.student(images).logits
        return F.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORE), (labels != IGNORE).sum()


def pictures():
    """Four pictures; the last two are nearly all void."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 3, 35, 49, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, 5, (4, 35, 49), generator=generator)
    labels[2:, :33] = IGNORE
    return images, labels


def step(part, mean):
    """Loss, gradients and buffers of one training step on the pictures `part`."""
    method = Supervised()
    model = distributed.wrap(distributed.convert_batch_norm(method, torch.device("cpu")), torch.device("cpu"))
    images, labels = pictures()
    loss = mean(*model(images[part], labels[part]))
    loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in method.named_parameters()}
    return {"loss": loss.detach(), "gradients": gradients, "buffers": dict(method.named_buffers())}


def own_mean(total, count):
    return total / count


def norm_inputs():
    """Two unequal parts, and the gradients that come back to them; far from 0, where sums of squares would cancel."""
    generator = torch.Generator().manual_seed(2)
    x, grad = (torch.randn(5, 6, 7, 9, dtype=torch.float64, generator=generator) for _ in range(2))
    return 3 * x + 1e4, grad


def normalise(norm, part):
    x, grad = (tensor[part].clone() for tensor in norm_inputs())
    x.requires_grad_()
    norm = norm.double()
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1, 2, 6))
        norm.bias.copy_(torch.linspace(0, 1, 6))
    for _ in range(2):
        out = norm(x)
    out.backward(grad)
    parameters = {name: parameter.grad for name, parameter in norm.named_parameters()}
    return {"out": out.detach(), "x": x.grad, **parameters, "state": norm.state_dict(), "eval": norm.eval()(x).detach()}


def refusal(name, value):
    try:
        distributed.require_same(name, value)
    except UserError as error:
        return str(error)
    return None


def rank_main(rank, port, folder):
    """All that the pair does; what it finds is saved for the tests."""
    values = (rank, 2, rank, 2, "127.0.0.1", port)
    os.environ.update({name: str(value) for name, value in zip(VARIABLES, values, strict=True)})
    torch.set_num_threads(1)
    world = distributed.start("cpu", timeout_seconds=60)
    half = slice(0, 2) if rank == 0 else slice(2, 4)
    counts = torch.tensor([[3, 0], [5, 0]])[rank]
    total = torch.tensor([2.0, 0.0], requires_grad=True)
    means = distributed.global_mean(total, counts)
    means.sum().backward()
    found = {
        "world": (world.rank, world.size, str(world.device), world.is_main),
        "interface": os.environ["GLOO_SOCKET_IFNAME"],
        "sum": distributed.sum_over_ranks(torch.tensor([2**24 + 1 + rank, 5])),
        "global_mean": (means.detach(), total.grad),
        "mean_over_ranks": distributed.mean_over_ranks({"b": torch.tensor(1.0 + rank), "a": means[0]}),
        "any": [distributed.any_rank(flag) for flag in (False, rank == 1, True)],
        "from_main": distributed.from_main({"path": f"runs/{rank}"}),
        "same": refusal("settings", {"seed": 1, "train": {"steps": 5}}),
        "nested": refusal("settings", {"seed": 1, "train": {"steps": 5 + rank, "power": 0.9}}),
        "plain": refusal("lists", f"hash{rank}"),
        "absent": refusal("settings", {"seed": 1} if rank else {}),
        "step": step(half, distributed.global_mean),
        "naive": step(half, own_mean),
        "norm": normalise(AllReduceBatchNorm2d(6), slice(0, 3) if rank == 0 else slice(3, 5)),
        "cumulative": normalise(AllReduceBatchNorm2d(6, momentum=None), slice(0, 3) if rank == 0 else slice(3, 5)),
        "one_value": AllReduceBatchNorm2d(2)(torch.tensor([1.0 + rank, 2.0]).reshape(1, 2, 1, 1)).detach(),
    }
    distributed.barrier()
    torch.save(found, f"{folder}/rank{rank}.pt")
    distributed.stop()
    assert distributed.world_size() == 1


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What rank 0 and rank 1 found."""
    folder = tmp_path_factory.mktemp("pair")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(rank_main, args=(port, str(folder)), nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def distance(first, second):
    """Relative Euclidean distance over all tensors of two dicts."""
    difference = sum((first[name] - second[name]).square().sum() for name in second)
    return float((difference / sum(value.square().sum() for value in second.values())).sqrt())


@pytest.mark.two_process
class TestTwoProcesses:
    def test_each_knows_its_place(self, pair):
        assert [found["world"] for found in pair] == [(0, 2, "cpu", True), (1, 2, "cpu", False)]
        assert {found["interface"] for found in pair} <= {"lo", "lo0"}

    def test_sums_are_exact_whole_numbers(self, pair):
        assert all(found["sum"].tolist() == [2**25 + 3, 10] for found in pair)

    def test_global_mean_is_the_mean_of_all_values(self, pair):
        for found in pair:
            value, gradient = found["global_mean"]
            assert value.tolist() == [2.0 * 2 / 8, 0.0]
            assert gradient.tolist() == [2 / 8, 2.0]
            assert found["mean_over_ranks"] == {"b": 1.5, "a": 0.5}

    def test_one_flag_is_a_flag_for_all(self, pair):
        assert [found["any"] for found in pair] == [[False, True, True]] * 2

    def test_rank_0_tells_the_others(self, pair):
        assert [found["from_main"] for found in pair] == [{"path": "runs/0"}] * 2

    def test_a_difference_is_refused_in_every_process_with_entry_and_rank(self, pair):
        for found in pair:
            assert found["same"] is None
            assert found["nested"].startswith(
                "settings.train.steps differs between processes: 5 on rank 0, 6 on rank 1:"
            )
            assert found["plain"].startswith("lists differs between processes: 'hash0' on rank 0, 'hash1' on rank 1:")
            assert found["absent"].startswith("settings.seed differs between processes: None on rank 0, 1 on rank 1:")

    def test_a_training_step_equals_one_process(self, pair):
        alone = step(slice(0, 4), distributed.global_mean)
        losses = torch.stack([found["step"]["loss"] for found in pair])
        assert abs(losses.mean() - alone["loss"]) < 1e-9
        for found in pair:
            assert distance(found["step"]["gradients"], alone["gradients"]) < 1e-6
            assert found["step"]["buffers"].keys() == alone["buffers"].keys()
            assert distance(found["step"]["buffers"], alone["buffers"]) < 1e-9

    def test_both_ranks_hold_the_same_bits(self, pair):
        for kind in ("gradients", "buffers"):
            first, second = (found["step"][kind] for found in pair)
            assert all(torch.equal(first[name], second[name]) for name in first)

    def test_a_mean_of_means_does_not(self, pair):
        alone = step(slice(0, 4), distributed.global_mean)
        assert distance(pair[0]["naive"]["gradients"], alone["gradients"]) > 0.05

    @pytest.mark.parametrize(("kind", "momentum"), [("norm", 0.1), ("cumulative", None)])
    def test_batch_norm_over_unequal_parts_equals_batch_norm_of_the_whole(self, pair, kind, momentum):
        alone = normalise(nn.BatchNorm2d(6, momentum=momentum), slice(0, 5))
        first, second = (found[kind] for found in pair)
        for name in ("out", "x", "eval"):
            torch.testing.assert_close(torch.cat([first[name], second[name]]), alone[name], rtol=1e-9, atol=1e-9)
        for name in ("weight", "bias"):
            torch.testing.assert_close(first[name] + second[name], alone[name], rtol=1e-9, atol=1e-9)
        for found in (first, second):
            assert list(found["state"]) == list(alone["state"])
            torch.testing.assert_close(found["state"], alone["state"], rtol=1e-12, atol=0)

    def test_one_value_a_process_is_enough_for_batch_norm(self, pair):
        outs = torch.stack([found["one_value"].flatten() for found in pair])
        torch.testing.assert_close(outs, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), atol=1e-4, rtol=0)


class TestAlone:
    def test_start_without_torchrun_is_a_world_of_one(self, monkeypatch):
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        world = distributed.start("cpu")
        assert (world.rank, world.size, world.device, world.is_main) == (0, 1, torch.device("cpu"), True)
        assert (distributed.rank(), distributed.world_size()) == (0, 1)
        distributed.stop()

    def test_collectives_are_the_identity(self):
        tensor = torch.tensor([1.0, 2.0], requires_grad=True)
        summed = distributed.sum_over_ranks(tensor)
        assert summed.tolist() == [1.0, 2.0] and not summed.requires_grad
        assert distributed.any_rank(True) and not distributed.any_rank(False)
        assert distributed.from_main("runs/a") == "runs/a"
        assert distributed.mean_over_ranks({"a": torch.tensor(2.5)}) == {"a": 2.5}
        assert distributed.mean_over_ranks({}) == {}
        distributed.require_same("seed", 1)
        distributed.barrier()

    def test_global_mean_of_nothing_is_a_connected_zero(self):
        total = torch.zeros((), requires_grad=True)
        mean = distributed.global_mean(total, 0)
        mean.backward()
        assert mean.item() == 0 and total.grad is not None
        assert distributed.global_mean(torch.tensor(6.0), torch.tensor(4)).item() == 1.5

    def test_wrapping_and_converting_change_nothing(self):
        module = nn.Sequential(nn.BatchNorm2d(2))
        cpu = torch.device("cpu")
        assert distributed.wrap(module, cpu) is module
        assert type(distributed.convert_batch_norm(module, cpu)[0]) is nn.BatchNorm2d

    @pytest.mark.parametrize("device", [name for name in ("cuda", "mps") if not getattr(torch, name).is_available()])
    def test_a_device_that_is_not_there_is_refused(self, device):
        with pytest.raises(UserError, match=f"device {device}: .* use cpu or auto"):
            distributed.start(device)

    def test_an_unknown_device_is_refused(self):
        with pytest.raises(UserError, match="device 'gpu' does not exist: choose one of auto, cpu, cuda, mps"):
            distributed.start("gpu")

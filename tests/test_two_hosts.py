"""Two "hosts" in network namespaces of their own, joined by a cable alone: torchrun's c10d rendezvous."""

import os
import shutil
import subprocess
import sys

import pytest

from scl_core.command_line import run_command
from scl_core.train import main as train
from tests.conftest import ROOT, kill_tree
from tests.tiny import assert_bitwise_equal, checkpoint_tensors, metrics, tiny_options, without_times

pytestmark = pytest.mark.two_process
PORT = 29400
STEPS = {"train__steps": 2, "train__evaluate_every": 2, "train__checkpoint_every": 2}


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr.strip())


@pytest.fixture
def hosts():
    """Two namespaces, as (name, address, interface); gone at the end with what is between them."""
    if shutil.which("ip") is None:
        pytest.skip("no `ip` on this machine: install iproute2 to make network namespaces")
    made = [
        (f"scl{os.getpid()}{end}", f"10.213.77.{number}", f"v{os.getpid()}{end}")
        for number, end in ((1, "a"), (2, "b"))
    ]
    try:
        try:
            connect(made)
        except OSError as error:
            pytest.skip(f"this user may make no network namespaces here: {error}")
        yield made
    finally:
        for name, _, _ in made:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def connect(hosts) -> None:
    """A cable between the two, and both its ends in use."""
    (_, _, first), (_, _, second) = hosts
    for name, _, _ in hosts:
        ip("netns", "add", name)
    ip("link", "add", first, "type", "veth", "peer", "name", second)
    for name, address, interface in hosts:
        ip("link", "set", interface, "netns", name)
        ip("-n", name, "address", "add", f"{address}/24", "dev", interface)
        for each in ("lo", interface):
            ip("-n", name, "link", "set", each, "up")


def torchrun(host, number: int, meeting_place: str, options: list[str]) -> subprocess.Popen:
    """The same command on each host, but for what a host is called; the name service of a real network is not there."""
    name, address, interface = host
    argv = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    argv += [
        "--nproc-per-node",
        "1",
        "--rdzv-backend",
        "c10d",
        "--rdzv-id",
        "two-hosts",
        "--rdzv-endpoint",
        meeting_place,
    ]
    argv += ["--rdzv-conf", f"is_host={number == 0}", "--local-addr", address, "-m", "scl_core.train", *options]
    own = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "GLOO_SOCKET_IFNAME": interface}
    return subprocess.Popen(
        argv, cwd=ROOT, env=os.environ | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_two_hosts_train_as_two_processes_of_one(hosts, tmp_path):
    run, alone = tmp_path / "hosts", tmp_path / "alone"
    assert run_command(train, [*tiny_options(alone, **STEPS), "--processes", "2"]) == 0
    place = f"{hosts[0][1]}:{PORT}"
    launchers = [torchrun(host, number, place, tiny_options(run, **STEPS)) for number, host in enumerate(hosts)]
    try:
        said = [launcher.communicate(timeout=180)[0] for launcher in launchers]
    finally:
        for launcher in launchers:
            if launcher.poll() is None:
                kill_tree(launcher.pid)
    assert [launcher.returncode for launcher in launchers] == [0, 0], "\n".join(said)
    assert without_times(metrics(run)) == without_times(metrics(alone))
    assert_bitwise_equal(checkpoint_tensors(run, 2), checkpoint_tensors(alone, 2))

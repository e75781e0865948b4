"""First weights: what loads, and what is refused with the names that a user needs, nothing half-loaded."""

import pickle
import urllib.error
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from scl_core.checkpoint import save_checkpoint
from scl_core.errors import UserError
from scl_core.models import ModelConfig, build_from_config, build_segmenter, load_weights
from scl_core.models.weights import IMAGENET


def small(classes=3, encoder="resnet18"):
    return build_segmenter(encoder, classes, decoder_channels=16, width=1.0)


def encoder_file(path, encoder="resnet18", prefix="", **changed):
    """A file as torchvision writes it: the encoder's names and a classifier's."""
    state = dict(small(encoder=encoder).encoder.state_dict())
    classifier = "fc" if encoder == "resnet18" else "classifier.1"
    state |= {f"{classifier}.weight": torch.zeros(1000, 8), f"{classifier}.bias": torch.zeros(1000)}
    state |= changed
    torch.save({prefix + name: value for name, value in state.items() if value is not None}, path)
    return path, state


def copied(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2"])
def test_a_torchvision_file_fills_the_encoder_alone(tmp_path, encoder, prefix):
    path, stored = encoder_file(tmp_path / "vision.pth", encoder, prefix)
    network = small(encoder=encoder)
    head = copied(network.pyramid)
    load_weights(network, path, encoder)
    assert same(network.encoder.state_dict(), stored)
    assert same(head, network.pyramid.state_dict())


def test_a_file_without_step_counters_loads(tmp_path):
    counters = {name: None for name in small().encoder.state_dict() if name.endswith("num_batches_tracked")}
    path, stored = encoder_file(tmp_path / "old.pth", **counters)
    network = small()
    load_weights(network, path, "resnet18")
    assert torch.equal(network.encoder.conv1.weight, stored["conv1.weight"])


def test_a_nested_legacy_file_loads(tmp_path):
    state = small().state_dict()
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "nested.pt", _use_new_zipfile_serialization=False)
    network = small()
    load_weights(network, tmp_path / "nested.pt", "resnet18")
    assert same(network.state_dict(), state)


def test_a_whole_segmenter_loads_from_safetensors_and_half_precision(tmp_path):
    state = {name: value.contiguous() for name, value in small().half().state_dict().items()}
    save_file(state, tmp_path / "half.safetensors")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "half.safetensors")
    config = ModelConfig(encoder="resnet18", decoder_channels=16, weights=str(tmp_path / "link.safetensors"))
    network = build_from_config(config, 3)
    assert torch.equal(network.classifier.weight, state["classifier.weight"].float())


def test_a_users_network_takes_its_own_file(tmp_path):
    network = build_segmenter("torch.nn:Identity", 3)
    network.network = torch.nn.Conv2d(3, 3, 1)
    torch.save(torch.nn.Conv2d(3, 3, 1).state_dict(), tmp_path / "own.pt")
    load_weights(network, tmp_path / "own.pt", "torch.nn:Identity")
    assert torch.equal(network.network.weight, torch.load(tmp_path / "own.pt", weights_only=True)["weight"])


@pytest.mark.parametrize("networks", [("student",), ("student", "teacher")])
def test_a_run_gives_the_network_that_counts_of_its_last_checkpoint(tmp_path, networks):
    stored = {step: {name: small().state_dict() for name in networks} for step in (1, 2)}
    for step, tensors in stored.items():
        save_checkpoint(tmp_path, step, tensors, state={"step": step}, info={})
    network = small()
    load_weights(network, tmp_path, "resnet18")
    assert same(network.state_dict(), stored[2][networks[-1]])
    load_weights(network, tmp_path / "checkpoints" / "00000001", "resnet18")
    assert same(network.state_dict(), stored[1][networks[-1]])


def test_a_run_of_another_number_of_classes_is_refused(tmp_path):
    save_checkpoint(tmp_path, 1, {"student": small(classes=5).state_dict()}, state={"step": 1}, info={})
    with pytest.raises(
        UserError, match=r"2 mis-shaped: classifier.weight \(\[5, 16, 1, 1\] in the file, \[3, 16, 1, 1\]"
    ):
        load_weights(small(), tmp_path, "resnet18")


def test_a_file_that_does_not_fit_is_listed_and_nothing_is_loaded(tmp_path):
    extra = {f"extra{number}": torch.zeros(1) for number in range(6)}
    changed = {"layer1.0.conv1.weight": None, "layer4.1.bn2.bias": None, "conv1.weight": torch.zeros(64, 1, 7, 7)}
    path, _ = encoder_file(tmp_path / "other.pth", **changed, **extra)
    network = small()
    before = copied(network)
    with pytest.raises(UserError) as refused:
        load_weights(network, path, "resnet18")
    message = str(refused.value)
    assert "2 missing: layer1.0.conv1.weight, layer4.1.bn2.bias;" in message
    assert "6 unexpected: extra0, extra1, extra2, extra3, ...;" in message
    assert "1 mis-shaped: conv1.weight ([64, 1, 7, 7] in the file, [64, 3, 7, 7] in the network)" in message
    assert same(before, network.state_dict())


def test_another_encoders_file_is_refused(tmp_path):
    path, _ = encoder_file(tmp_path / "mobile.pth", "mobilenet_v2")
    with pytest.raises(UserError, match="missing: .*unexpected: "):
        load_weights(small(), path, "resnet18")


UNFIT = {
    "NaN": (lambda: torch.full((64,), float("nan")), "values that are not finite"),
    "sparse": (lambda: torch.zeros(8, 8).to_sparse(), "is not plain"),
    "compressed rows": (lambda: torch.zeros(8, 8).to_sparse_csr(), "is not plain"),
    "quantised": (lambda: torch.quantize_per_tensor(torch.ones(8), 0.1, 0, torch.qint8), "is not plain"),
    "without data": (lambda: torch.empty(8, device="meta"), "is not plain"),
    "stride 0": (lambda: torch.zeros(1).expand(100000, 100000), r"claims the shape \[100000, 100000\]"),
    "complex": (lambda: torch.zeros(8, dtype=torch.complex64), "has type torch.complex64"),
    "whole numbers": (lambda: torch.zeros(64, dtype=torch.int64), r"\(\[64\] of whole numbers in the file, \[64\] in"),
    "no tensor": (lambda: 3, "is int, and not a tensor"),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:torch.quantize_per_tensor", "ignore:TypedStorage")
@pytest.mark.parametrize("kind", UNFIT)
def test_unfit_tensors_are_refused_by_name(tmp_path, kind):
    make, message = UNFIT[kind]
    path, _ = encoder_file(tmp_path / "unfit.pth", **{"bn1.weight": make()})
    network = small()
    before = network.encoder.bn1.weight.clone()
    with pytest.raises(UserError, match=f"bn1.weight .*{message}"):
        load_weights(network, path, "resnet18")
    assert torch.equal(network.encoder.bn1.weight, before)


class Payload:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_file_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"conv1.weight": Payload(tmp_path / "ran")}, tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Payload(tmp_path / "ran"), protocol=2))
    for name in ("evil.pth", "plain.pth"):
        with pytest.raises(UserError, match=f"{name}: not a plain file of weights"):
            load_weights(small(), tmp_path / name, "resnet18")
    assert not (tmp_path / "ran").exists()


def test_a_compressed_archive_is_refused_unopened(tmp_path):
    path, _ = encoder_file(tmp_path / "plain.pth")
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for item in plain.namelist():
            packed.writestr(item, plain.read(item))
    with pytest.raises(UserError, match="compressed archive"):
        load_weights(small(), tmp_path / "small.pth", "resnet18")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.pth", None, "no such file or run folder"),
        ("weights.txt", b"", "expected imagenet, a run folder, or"),
        ("torn.pth", b"PK\x03\x04 torn", "not a plain file of weights"),
        ("empty.pt", b"", "not a plain file of weights"),
        ("torn.safetensors", b"\xff" * 64, "torn.safetensors"),
    ],
)
def test_what_is_no_weights_file_is_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_weights(small(), tmp_path / name, "resnet18")


def test_a_list_is_no_weights_file(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds list"):
        load_weights(small(), tmp_path / "list.pth", "resnet18")


def test_imagenet_is_there_for_the_published_widths_alone():
    network = build_segmenter("mobilenet_v2", 3, decoder_channels=16, width=0.35)
    with pytest.raises(UserError, match="width 1.0, not for mobilenet_v2 of width 0.35"):
        load_weights(network, "imagenet", "mobilenet_v2", width=0.35)


def test_imagenet_has_no_deep_stem():
    network = build_segmenter("resnet18", 3, decoder_channels=16, deep_stem=True)
    with pytest.raises(UserError, match="begins with one 7x7 convolution: set model.deep_stem to false"):
        load_weights(network, "imagenet", "resnet18", deep_stem=True)


@pytest.mark.parametrize(("encoder", "digits"), [("resnet50", "11ad3fa6"), ("resnet101", "cd907fc2")])
def test_the_larger_resnets_have_their_official_address(encoder, digits):
    assert IMAGENET[encoder] == f"https://download.pytorch.org/models/{encoder}-{digits}.pth"


def test_imagenet_without_network_says_what_to_do(tmp_path, monkeypatch):
    """The real download, sent to a port where nobody listens."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(IMAGENET, "resnet18", "http://127.0.0.1:9/resnet18-f37072fd.pth")
    with pytest.raises(UserError, match="cannot be had.*give its path instead") as refused:
        load_weights(small(), "imagenet", "resnet18")
    assert isinstance(refused.value.__cause__, urllib.error.URLError)


def test_imagenet_is_downloaded_once(tmp_path, monkeypatch):
    """A file that is there already is used; torch checks the hash in its name while it downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    _, stored = encoder_file(tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth")
    network = small()
    load_weights(network, "imagenet", "resnet18")
    assert same(network.encoder.state_dict(), stored)

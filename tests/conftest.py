"""What every test shares: one thread per process, fixed seeds, tiny data, the project's commands as subprocesses."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch reads it, and for every subprocess

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import numpy as np
import psutil
import pytest
import torch
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TINY_CLASSES = {"background": (40, 60, 110), "road": (120, 120, 120), "disc": (210, 80, 40)}

torch.set_num_threads(1)
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, max_examples=40, database=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "tests"))


@dataclass(frozen=True)
class CommandResult:
    """What a finished command left: its exit status and both streams."""

    rc: int
    stdout: str
    stderr: str


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def project_root() -> Path:
    return ROOT


@pytest.fixture
def tmp_runs(tmp_path: Path) -> Path:
    """An empty folder to put runs in."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """The CamVid folder named by SCL_CAMVID; without it the test skips, or fails when SCL_REQUIRE_CAMVID=1."""
    named = os.environ.get("SCL_CAMVID", "")
    if named and Path(named).is_dir():
        return Path(named).resolve()
    reason = f"SCL_CAMVID={named!r} is no folder" if named else "SCL_CAMVID does not name the CamVid folder"
    if os.environ.get("SCL_REQUIRE_CAMVID") == "1":
        pytest.fail(f"{reason}, and SCL_REQUIRE_CAMVID=1 requires it")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The system's Chromium; a browser test skips where there is none."""
    found = next(filter(answers, filter(None, map(shutil.which, BROWSERS))), None)
    if found is None:
        pytest.skip("no Chromium on this machine: install it from the system's packages (make test does, where it can)")
    return found


def answers(program: str) -> bool:
    """A browser's name alone may be a stub that asks for another package manager."""
    return subprocess.run([program, "--version"], capture_output=True, timeout=30).returncode == 0


@pytest.fixture
def run_cli() -> Callable[..., CommandResult]:
    """`run_cli("train", "--config", file, timeout=60)` runs `python -m scl_core.train …` from the project's root."""

    def run(name: str, *arguments: object, timeout: float = 120, env: dict[str, str] | None = None) -> CommandResult:
        return run_command([sys.executable, "-m", f"scl_core.{name}", *map(str, arguments)], timeout, env)

    return run


def run_command(argv: list[str], timeout: float, env: dict[str, str] | None = None, cwd: Path = ROOT) -> CommandResult:
    """Run a command to its end; when it takes too long, kill it with all its descendants and fail."""
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill_tree(process.pid)
        stdout, stderr = process.communicate()
        pytest.fail(f"{' '.join(argv)} took longer than {timeout} s\n{stdout}\n{stderr}")
    return CommandResult(process.returncode, stdout, stderr)


def kill_tree(pid: int) -> None:
    """Kill a process and all below it; ranks live in sessions of their own, so a signal to the group is not enough."""
    leader = psutil.Process(pid)
    for process in [*leader.children(recursive=True), leader]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass


@pytest.fixture
def make_tiny_folder() -> Callable[..., Path]:
    """`make_tiny_folder(root, labeled=4, unlabeled=4, height=48, width=64)` draws a folder data set there."""
    return build_tiny_folder


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    """A folder data set of eight pictures of 48 x 64 pixels, the last four without a mask."""
    return build_tiny_folder(tmp_path / "tiny")


def build_tiny_folder(root: Path, labeled: int = 4, unlabeled: int = 4, height: int = 48, width: int = 64) -> Path:
    """Write `images/`, `masks/` (palette PNG) and `classes.txt` ("name r g b" a line): discs over a road."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    lines = [f"{name} {r} {g} {b}\n" for name, (r, g, b) in TINY_CLASSES.items()]
    (root / "classes.txt").write_text("".join(lines))
    random_numbers = np.random.default_rng(0)
    for number in range(labeled + unlabeled):
        mask = draw_tiny_mask(random_numbers, height, width)
        colours = np.array(mask.convert("RGB"))
        noisy = np.clip(colours + random_numbers.normal(0, 12, colours.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(root / "images" / f"{number:03d}.png")
        if number < labeled:
            mask.save(root / "masks" / f"{number:03d}.png")
    return root


def draw_tiny_mask(random_numbers: np.random.Generator, height: int, width: int) -> Image.Image:
    """A palette picture of class indices: road below the horizon, one disc, and a border line of 255 (ignored)."""
    mask = Image.new("P", (width, height), 0)
    mask.putpalette(
        [value for colour in TINY_CLASSES.values() for value in colour] + [0] * 3 * (256 - len(TINY_CLASSES))
    )
    draw = ImageDraw.Draw(mask)
    draw.rectangle((0, int(height * 0.6), width, height), fill=1)
    radius = height // 6
    x, y = int(random_numbers.integers(radius, width - radius)), int(random_numbers.integers(radius, height - radius))
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=2, outline=255)
    return mask

"""How fast the app answers in a real browser:  python -m experiments.benchmarks.app [--actions 30] [--interactions 300]

A run on drawn scenes of 256 x 512, one server, one Chromium. Each action is timed in the page, from the event to its
answer, once the network has run; the server's memory is read over the interactions; then ten visitors click at once.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import psutil

from experiments.benchmarks.browser import ROOT, answer, browsing, open_page, serving, start_click, start_slide
from experiments.benchmarks.command import option_parser, tell
from scl_core.cutmix import box_owner, sample_boxes
from scl_core.restore import run_config
from scl_core.seeding import generator_for

HEIGHT, WIDTH, VISITORS = 256, 512, 10
STEP, PAIR = 2, 1  # what the pages show at first
WARM_UP = 8  # clicks, and moves of the slider, before anything is measured
SETTINGS = {
    "data.height": HEIGHT,
    "data.width": WIDTH,
    "data.labeled": 2,
    "data.unlabeled": 6,
    "data.val": 1,
    "data.test": 1,
    "train.steps": 2,
    "train.batch_labeled": 2,
    "train.batch_unlabeled": 2,
    "train.threads": 1,
}
LOOK = f"run=bench&step={STEP}&pair={PAIR}"


def train_run(runs: Path) -> Path:
    """Two steps on scenes of 256 x 512 by the real command."""
    options = [word for key, value in SETTINGS.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "scl_core.train", "--config", "experiments/scenes/scl.yaml", *options]
    done = subprocess.run(
        [*command, "--run_dir", str(runs / "bench"), "--device", "cpu"], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    return runs / "bench"


def pixels_by_box(run: Path) -> list[list[tuple[int, int]]]:
    """Of each of the loss boxes that show most, some pixels as (row, column), by the functions that drew the boxes."""
    config = run_config(run)
    method, draw = config.method, generator_for(config.seed, STEP, PAIR, "boxes")
    boxes = sample_boxes(HEIGHT, WIDTH, method.num_boxes, method.total_area, method.area_mode, draw)
    owner = box_owner(boxes, HEIGHT, WIDTH)
    in_loss = range(len(boxes))[-(method.num_loss_boxes or len(boxes)) :]
    places = [(owner == number).nonzero().tolist() for number in in_loss]
    largest = sorted(places, key=len, reverse=True)[:4]
    return [[tuple(shown[k * len(shown) // 50]) for k in range(1, 50)] for shown in largest]


def first_pages(context, address: str, count: int) -> Iterator[float]:
    """A visitor opens the first page, with the app's scripts in the browser's cache and the server warm."""
    for _ in range(count):
        page = context.new_page()
        yield open_page(page, address)
        page.close()


def slider_moves(page, address: str, count: int) -> Iterator[float]:
    """The area of the boxes changes by a click on its slider: new boxes, their pictures, numbers and losses."""
    open_page(page, f"{address}/cutmix?{LOOK}&what_if=true")
    slider = page.get_by_role("slider", name="Total area")
    slider.wait_for()
    page.get_by_text("Covered by boxes").wait_for()
    page.wait_for_timeout(500)
    for number in range(count):
        start_slide(page, slider, 0.3 + 0.05 * (number % 9), "Covered by boxes")
        yield answer(page)


def open_viewer(page, address: str):
    """The picture of the Similarity page."""
    open_page(page, f"{address}/similarity?{LOOK}")
    viewer = page.get_by_role("application")
    viewer.wait_for()
    page.wait_for_timeout(500)
    return viewer


def clicks(page, address: str, places: list[tuple[int, int]], count: int, whole: bool) -> Iterator[float]:
    """Pixels are clicked one after another; the answer is the similarity map, or with `whole` the page's end."""
    viewer, wanted = open_viewer(page, address), cycle(places)
    for number in range(count + 1):
        start_click(viewer, (HEIGHT, WIDTH), next(wanted), whole)
        seconds = answer(page)
        if number:  # the first click may take the page to another box
            yield seconds


def visitors(context, address: str, boxes: list, rounds: int) -> Iterator[float]:
    """Ten pages are open; in each round every one has a pixel of its own clicked at the same moment."""
    pages = [context.new_page() for _ in range(VISITORS)]
    viewers = [open_viewer(page, address) for page in pages]
    for turn in range(rounds):
        for number, viewer in enumerate(viewers):
            box = boxes[number % len(boxes)]
            start_click(viewer, (HEIGHT, WIDTH), box[(7 * turn + number) % len(box)])
        seconds = [answer(page) for page in pages]
        if turn:
            yield from seconds
    for page in pages:
        page.close()


def spread(seconds: list[float]) -> dict:
    """Number, median, 95th percentile and the slowest."""
    ordered = sorted(seconds)
    at = min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))
    return {"n": len(ordered), "median": statistics.median(ordered), "p95": ordered[at], "slowest": ordered[-1]}


class Memory:
    """Resident MB of the server as interactions go by: once every tenth of them, the first before any."""

    def __init__(self, server: psutil.Process, interactions: int):
        self.server, self.interactions, self.done = server, interactions, 0
        self.mb = [self.resident()]

    def resident(self) -> float:
        return round(self.server.memory_info().rss / 2**20, 1)

    def over(self, actions: Iterator[float]) -> list[float]:
        """The seconds of the actions, each of them counted."""
        seconds = []
        for taken in actions:
            seconds.append(taken)
            self.done += 1
            if self.done % max(1, self.interactions // 10) == 0:
                self.mb.append(self.resident())
        return seconds

    @property
    def left(self) -> int:
        """Interactions that are still to come."""
        return max(0, self.interactions - self.done)

    def record(self) -> dict:
        return {"interactions": self.done, "mb": self.mb, "grown_mb": round(self.mb[-1] - self.mb[0], 1)}


def measure(actions: int = 30, interactions: int = 300) -> dict:
    """Seconds of every action, and the server's memory over all of them and as many clicks as make `interactions`."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        boxes = pixels_by_box(train_run(runs))
        one_from_each = [place for places in zip(*boxes, strict=True) for place in places]
        with serving(runs) as (address, server), browsing() as context:
            page = context.new_page()
            open_page(page, address)
            fresh = Memory(server, interactions).resident()
            list(clicks(page, address, one_from_each, WARM_UP, True))  # networks run, caches fill
            list(slider_moves(page, address, WARM_UP))
            memory = Memory(server, interactions)
            found = {
                "first page": memory.over(first_pages(context, address, actions)),
                "box slider": memory.over(slider_moves(page, address, actions + 1))[1:],
                "another box": memory.over(clicks(page, address, one_from_each, actions, True)),
                "pixel to its map": memory.over(clicks(page, address, boxes[0], actions, False)),
                "pixel, whole page": memory.over(clicks(page, address, boxes[0], actions, True)),
            }
            memory.over(clicks(page, address, one_from_each, memory.left, False))
            found["ten visitors"] = list(visitors(context, address, boxes, 1 + -(-actions // VISITORS)))
    actions = {name: spread(seconds) for name, seconds in found.items()}
    return {"actions": actions, "memory": memory.record() | {"fresh_mb": fresh}}


def table(found: dict) -> str:
    """Median and 95th percentile of every action, and the memory."""
    lines = ["| action, pair of 256 x 512 | n | median, s | 95th percentile, s | slowest, s |", "|---|---|---|---|---|"]
    for name, times in found["actions"].items():
        lines.append(f"| {name} | {times['n']} | {times['median']:.2f} | {times['p95']:.2f} | {times['slowest']:.2f} |")
    memory = found["memory"]
    grown = (
        f"{memory['fresh_mb']:.0f} MB with its first page, {memory['mb'][0]:.0f} MB once networks had run and caches "
        f"were full, {memory['mb'][-1]:.0f} MB after {memory['interactions']} more interactions"
    )
    return "\n".join([*lines, "", f"Server's memory: {grown}."])


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("--actions", type=int, default=30)
    parser.add_argument("--interactions", type=int, default=300, help="over which the server's memory is read")
    options = parser.parse_args()
    found = measure(options.actions, options.interactions)
    tell(found, table(found), options.out)


if __name__ == "__main__":
    main()

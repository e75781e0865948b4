"""What the project wants to reach, beside what was measured."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """A number of one part's result and its bound: at most `bound`, or at least where `least`."""

    says: str
    part: str
    number: Callable[[dict], float]
    bound: float
    unit: str = ""
    least: bool = False

    def row(self, found: dict) -> str:
        """Its line of the table; "-" where the part has no such number."""
        wanted = f"at {'least' if self.least else 'most'} {self.bound:g}{self.unit}"
        try:
            value = self.number(found[self.part])
        except (LookupError, TypeError, StopIteration):
            return f"| {self.says} | {wanted} | - | not measured |"
        met = value >= self.bound if self.least else value <= self.bound
        return f"| {self.says} | {wanted} | {value:.3g}{self.unit} | {'yes' if met else '**no**'} |"


def row_of(method: str) -> Callable[[dict], dict]:
    return lambda found: next(row for row in found["rows"] if row["method"] == method)


def beside_networks(found: dict) -> float:
    """Percent of SCL's step that is not its networks' passes. Raises LookupError where noise hides it."""
    ratio = row_of("scl")(found)["ratio"]
    if ratio < 1:
        raise LookupError("the bare passes took longer than the step that holds them")
    return 100 * (1 - 1 / ratio)


def slowest(found: dict) -> float:
    """Of the methods' pages, the seconds of the one whose new pairs take longest."""
    return max(row["seconds"] for row in found["rows"] if row["pair"] == "new")


GOALS = (
    Goal("exact loss against the fastest drawn form", "structured_loss", lambda f: f["boxes"]["exact / drawn"], 1),
    Goal("exact loss against the plain drawn form", "structured_loss", lambda f: f["boxes"]["exact / plain"], 0.5),
    Goal("exact loss against eq. 4 on the crop", "structured_loss", lambda f: f["boxes"]["exact / pixel-wise"], 1),
    Goal("eq. 6 over 1024 x 2048", "structured_loss", lambda f: f["whole"]["2097152"] / 1000, 1, " s"),
    Goal("memory of a box of 70,000 pixels", "structured_loss", lambda f: f["memory"]["70000"], 100, " MB"),
    Goal("SCL at 360 x 480: the step beside its networks", "step_large", beside_networks, 8, " %"),
    Goal("first training step after the command", "first_step", lambda f: f["seconds"], 5, " s"),
    Goal("two processes against one, 128 x 256", "processes", lambda f: f["128 x 256"]["ratio"], 1.7, least=True),
    Goal("two processes against one, 360 x 480", "processes", lambda f: f["360 x 480"]["ratio"], 1.7, least=True),
    Goal("loader against the step", "loading", lambda f: f["ratio"], 3, least=True),
    Goal("share of the step that waits for pictures", "loading", lambda f: 100 * f["waiting_share"], 3, " %"),
    Goal("20,000 files indexed", "loading", lambda f: f["index_seconds"], 0.5, " s"),
    Goal("the same with headers", "loading", lambda f: f["index_seconds"] + f["headers_seconds"], 2, " s"),
    Goal("evaluation against the plain loop", "evaluation", lambda f: f["kept"]["ratio"], 1.5, least=True),
    Goal("200 runs of 10,000 steps listed, later looks", "listing", lambda f: f["with its table"]["median"], 0.3, " s"),
    Goal("the same, first look", "listing", lambda f: f["first look"]["median"], 0.3, " s"),
    Goal("first page, server warm", "app", lambda f: f["actions"]["first page"]["median"], 1.5, " s"),
    Goal("box slider, 256 x 512", "app", lambda f: f["actions"]["box slider"]["median"], 0.5, " s"),
    Goal("another box, 256 x 512", "app", lambda f: f["actions"]["another box"]["median"], 0.5, " s"),
    Goal("pixel to its similarity map", "app", lambda f: f["actions"]["pixel to its map"]["median"], 0.3, " s"),
    Goal("server's memory over the interactions", "app", lambda f: f["memory"]["grown_mb"], 50, " MB"),
    Goal("page Other methods, a new pair of 256 x 512", "insides", slowest, 0.5, " s"),
    Goal("ten visitors at once, 95th percentile", "app", lambda f: f["actions"]["ten visitors"]["p95"], 1, " s"),
)


def goals_table(found: dict[str, dict]) -> str:
    """Every goal with its number, by the results of the parts."""
    head = "| what | goal | measured | met |\n|---|---|---|---|"
    return "\n".join([head, *(goal.row(found) for goal in GOALS)])

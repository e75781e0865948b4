"""What the curves page draws: the quantities that runs have recorded, as curves, alone or grouped over seeds."""

from collections import Counter
from dataclasses import dataclass, replace

from pages.shared import store
from pages.shared.settings_diff import flatten
from pages.shared.words import plain_name
from scl_core.errors import UserError
from scl_core.figures.curves import by_network, loss_terms
from scl_core.figures.run_groups import Curve, curve
from scl_core.runs import Records, RunSummary

MIOU = "mIoU "
NOT_COMPARED = ("seed", "run_dir", "device", "train.stop_at", "train.threads", "train.workers", "train.log_every")
OTHERS = ("learning_rate", "seconds")
MEASURED = ("gradient/", "cosine/", "targets/", "labels/")
CLASSES = ("targets/classes", "labels/classes")


@dataclass(frozen=True)
class RunRecords:
    """One run with all that it has recorded, and its settings by dotted key (empty where they cannot be read)."""

    summary: RunSummary
    metrics: Records
    evaluations: Records
    settings: dict[str, str]

    def quantities(self) -> list[str]:
        """What this run has recorded, the scores first."""
        networks = by_network(self.evaluations, "val")
        scores = [MIOU + network for network in networks]
        return [*scores, *loss_terms(self.metrics), *(OTHERS if self.metrics else ()), *self.measured()]

    def measured(self) -> list[str]:
        """The columns that are filled only at some steps: gradients, cosines, targets."""
        names = dict.fromkeys(key for record in self.metrics for key in record if key.startswith(MEASURED))
        return [name for name in names if not name.startswith("targets/share/")]

    def curve(self, quantity: str, axis: str) -> Curve:
        """One quantity over the axis; mIoU in percent."""
        epoch, step = self.summary.epoch, self.summary.status.step
        options = {"axis": axis, "steps_per_epoch": step / epoch if epoch and step else None}
        if quantity.startswith(MEASURED):
            rows = [record for record in self.metrics if record.get(quantity) is not None]
            return curve(rows, quantity, **options, seconds=self.metrics)
        if not quantity.startswith(MIOU):
            return curve(self.metrics, quantity, **options)
        rows = by_network(self.evaluations, "val").get(quantity.removeprefix(MIOU), [])
        found = curve(rows, "mean_iou", **options, seconds=self.metrics)
        return replace(found, y=100 * found.y)


def read(names: list[str]) -> tuple[list[RunRecords], dict[str, str]]:
    """The runs with these names, and what is wrong with those that cannot be read."""
    found, problems = [], {}
    summaries = {run.name: run for run in store.summaries()}
    for name in names:
        try:
            run = store.run_folder(name)
            records = store.metrics(run), run.evaluations()
            found.append(RunRecords(summaries[name], *records, settings_of(name)))
        except (UserError, OSError, KeyError) as error:
            problems[name] = str(error)
    return found, problems


def settings_of(name: str) -> dict[str, str]:
    """The settings that make a run what it is."""
    try:
        return flatten(store.run_folder(name).config())
    except UserError:
        return {}


def unit(quantity: str) -> str:
    """The unit of a quantity."""
    if quantity in CLASSES:
        return "effective number of classes"
    return "%" if quantity.startswith(MIOU) else "s" if quantity == "seconds" else "unitless"


def groups(runs: list[RunRecords]) -> dict[str, list[RunRecords]]:
    """Runs that differ in nothing but their seed (and how they were run), under a name that tells them apart."""
    found: dict[object, list[RunRecords]] = {}
    for run in runs:
        rest = tuple(sorted((key, text) for key, text in run.settings.items() if key not in NOT_COMPARED))
        found.setdefault(rest or run.summary.name, []).append(run)
    names = [group_name(members, list(found.values())) for members in found.values()]
    repeated = {name for name, count in Counter(names).items() if count > 1}
    labels = [f"{name} · {members[0].summary.name}" if name in repeated else name
              for name, members in zip(names, found.values(), strict=True)]  # fmt: skip
    return dict(zip(labels, found.values(), strict=True))


def group_name(members: list[RunRecords], all_groups: list[list[RunRecords]]) -> str:
    """Method, data set, and up to three settings in which this group differs from others of the same method."""
    first = members[0]
    alike = [group[0] for group in all_groups if group[0].summary.method == first.summary.method]
    differing = [
        key
        for key in first.settings
        if key not in NOT_COMPARED and len({other.settings.get(key) for other in alike}) > 1
    ]
    parts = [first.summary.method or first.summary.name, first.summary.data or ""]
    parts += [f"{key.rpartition('.')[2]} {first.settings[key]}" for key in differing[:3]]
    return plain_name(" · ".join(filter(None, dict.fromkeys(parts))))

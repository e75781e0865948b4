"""The launch form: one widget for each setting of the schema, so that form, file and command line cannot differ."""

import math
import os
import shlex
import sys
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from scl_core.config import Field, RunConfig, build_config, build_parser, chosen_names, flat_fields, parse_value
from scl_core.config_files import Given, as_text, read_file
from scl_core.data.sources import DATASETS
from scl_core.methods import METHODS

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
SECTIONS = {"Data": "data.", "Augmentation": "augment.", "Model": "model.", "Method": "method.", "Training": "train."}
SCHEMA = "the schema's defaults"
FIRST_FIELDS = (
    "data.root",
    "data.labeled",
    "train.steps",
    "train.learning_rate",
    "train.batch_labeled",
    "train.batch_unlabeled",
    "seed",
)
LABELS = {
    "data.root": "Data folder",
    "data.labeled": "Labeled pictures",
    "train.batch_labeled": "Labeled pictures a step",
    "train.batch_unlabeled": "Mixed pictures a step",
}
ELSEWHERE = ("data.name", "method.name", "run_dir", "train.stop_at", "device")


@dataclass(frozen=True)
class Start:
    """What the form starts from: the settings file, or none, and the chosen method and data set."""

    file: Path | None
    method: str
    data: str
    given: tuple[Given, ...]

    @property
    def key(self) -> str:
        """A prefix for the keys of the form's widgets: another start is another form."""
        return f"{self.file}|{self.method}|{self.data}|"

    def values(self) -> dict[str, Any]:
        """The value each widget starts with: the schema's default, or what the file says."""
        fields = {field.key: field for field in flat_fields(self.method, self.data)}
        parser = build_parser(list(fields.values()))
        values = {key: field.default for key, field in fields.items()}
        values |= {"method.name": self.method, "data.name": self.data}
        for entry in self.given:
            if not entry.key.endswith(".name"):
                values[entry.key] = parse_value(parser, fields[entry.key], entry)
        return values


def presets() -> dict[str, Path | None]:
    """The settings files of `experiments`, by `data set / method`; last the schema alone."""
    files = sorted(path for path in EXPERIMENTS.glob("*/*.yaml") if path.stem != "base")
    files.sort(key=lambda path: (path.parent.name != "scenes", path.stem != "scl"))
    return {f"{path.parent.name} / {path.stem}": path for path in files} | {SCHEMA: None}


def choose_start() -> Start:
    """The three choices that decide which settings there are. Raises `UserError` for a settings file that is wrong."""
    files = presets()
    preset, method, data = st.columns(3)
    file = files[preset.selectbox("Start from", list(files), key="preset", bind="query-params")]
    given = read_file(file) if file else []
    file_method, file_data = chosen_names(given)
    methods, sets = list(METHODS), list(DATASETS)
    chosen_method = method.selectbox("Method", methods, index=methods.index(file_method), key=f"{file}|method")
    chosen_data = data.selectbox("Data", sets, index=sets.index(file_data), key=f"{file}|data")
    if (chosen_method, chosen_data) == (file_method, file_data):
        return Start(file, chosen_method, chosen_data, tuple(given))
    foreign = ["method."] * (chosen_method != file_method) + ["data."] * (chosen_data != file_data)
    kept = tuple(entry for entry in given if not entry.key.startswith(tuple(foreign)))
    return Start(None, chosen_method, chosen_data, kept)


def show_fields(start: Start, starting: dict[str, Any]) -> dict[str, Any]:
    """All settings as widgets: a few in sight, the others by section; returns their values by dotted key."""
    fields = {field.key: field for field in flat_fields(start.method, start.data) if field.key not in ELSEWHERE}
    first = [fields[key] for key in FIRST_FIELDS if key in fields]
    values = starting | show_grid(first, starting, start.key)
    with st.expander("All other settings"):
        for tab, section in zip(st.tabs(list(SECTIONS)), SECTIONS.values(), strict=True):
            rest = [field for field in fields.values() if field.key.startswith(section) and field not in first]
            with tab:
                values |= show_grid(rest, starting, start.key)
    return values


def show_setting(start: Start, starting: dict[str, Any], key: str) -> Any:
    """The widget for one setting by its dotted key."""
    field = next(field for field in flat_fields(start.method, start.data) if field.key == key)
    return show_field(field, starting[key], start.key + key)


def show_grid(fields: list[Field], values: dict[str, Any], prefix: str, width: int = 3) -> dict[str, Any]:
    """Widgets row by row, so that neighbours stand on one line."""
    result = {}
    for first in range(0, len(fields), width):
        for column, field in zip(st.columns(width), fields[first : first + width], strict=False):
            with column:
                result[field.key] = show_field(field, values[field.key], prefix + field.key)
    return result


def show_field(field: Field, value: Any, key: str) -> Any:
    """The widget for one setting, by its type; an empty one is None."""
    label = LABELS.get(field.key) or field.key.rpartition(".")[2].replace("_", " ").capitalize()
    help = f"{field.help}  \n`{field.key}`"
    kinds = set(typing.get_args(field.type)) or {field.type}
    if field.choices:
        return st.selectbox(label, field.choices, index=field.choices.index(value), key=key, help=help)
    if bool in kinds:
        return st.toggle(label, value=bool(value), key=key, help=help)
    if int in kinds or float in kinds:
        kind, bounds = (float if float in kinds else int), [field.low, field.high]
        low, high = (None if bound is None else kind(bound) for bound in bounds)
        number = None if value is None else kind(value)
        looks = {"format": "%g", "step": float_step(number)} if kind is float else {"step": 1}
        return st.number_input(
            label, min_value=low, max_value=high, value=number, key=key, help=help, placeholder="none", **looks
        )
    text = st.text_input(label, value="" if value is None else as_text(value), key=key, help=help)
    return text.strip() or None


def float_step(value: float | None) -> float:
    """A step that changes the first digit of the number."""
    return 10.0 ** math.floor(math.log10(abs(value))) if value else 0.1


def read_form(values: dict[str, Any], run_dir: Path) -> RunConfig:
    """The settings of the form, checked as those of a file are. Raises `UserError`."""
    return build_config(
        [Given(key, as_text(value), "the form") for key, value in (values | {"run_dir": run_dir}).items()]
    )


def command_line(start: Start, starting: dict[str, Any], values: dict[str, Any], run_dir: Path, processes: int) -> str:
    """The command that starts the same run from a terminal: the settings file and what the form changes of it."""
    python = Path(sys.executable)
    words = [os.path.relpath(python) if python.is_relative_to(Path.cwd()) else str(python), "-m", "scl_core.train"]
    if start.file:
        words += ["--config", os.path.relpath(start.file)]
    else:
        words += ["--method.name", start.method, "--data.name", start.data]
        starting = {field.key: field.default for field in flat_fields(start.method, start.data)}
    for key, value in values.items():
        if value != starting[key] and key not in ("method.name", "data.name", "run_dir"):
            words += [f"--{key}", as_text(value)]
    words += ["--run_dir", str(run_dir)] + (["--processes", str(processes)] if processes > 1 else [])
    return shlex.join(words)

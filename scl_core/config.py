"""One schema for YAML files, command line and launch form: dataclasses chosen by the method's and data set's name."""

import difflib
import types
import typing
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jsonargparse

from scl_core.config_files import COMMAND_LINE, Given, as_text, read_file
from scl_core.data.augment import AugmentConfig
from scl_core.data.sources import DATASETS, recognise_layout
from scl_core.errors import UserError
from scl_core.methods import METHODS
from scl_core.models import ModelConfig
from scl_core.settings import setting


@dataclass
class TrainConfig:
    steps: int = setting(3000, "Training steps of the whole schedule.", low=1)
    stop_at: int | None = setting(None, "Stop cleanly after this step; the schedule stays that of train.steps.", low=1)
    batch_labeled: int = setting(4, "Labeled pictures a step, over all processes.", low=1)
    batch_unlabeled: int = setting(
        4, "Mixed unlabeled pictures a step, over all processes (two are read for each).", low=1
    )
    unlabeled_from: str = setting(
        "unlabeled",
        "The list whose pictures are used without masks; labeled = a control that sees no other picture.",
        choices=("unlabeled", "labeled"),
    )
    optimizer: str = setting("sgd", "The optimizer.", choices=("sgd", "adamw"))
    learning_rate: float = setting(0.02, "Learning rate of the first step.", low=0.0)
    encoder_rate: float = setting(
        1.0,
        "Learning rate of the encoder as a share of the others' (0.1 where the head learns ten times faster).",
        low=0.0,
        high=100.0,
    )
    power: float = setting(0.9, "Power of the polynomial decay of the learning rate.", low=0.0)
    learning_rate_every: int = setting(
        1, "Steps for which one learning rate holds; with the steps of an epoch it falls by epochs.", low=1
    )
    momentum: float = setting(0.9, "Momentum of SGD; the first beta of AdamW.", low=0.0, high=0.9999)
    weight_decay: float = setting(1e-4, "Weight decay of every weight that is not a bias or a normalisation.", low=0.0)
    gradient_limit: float | None = setting(
        None,
        "Largest Euclidean norm of a step's gradient; a larger one is scaled down to it. Empty = no limit.",
        low=1e-6,
    )
    decay_all: bool = setting(False, "Let the weight decay hold for biases and normalisations too.")
    precision: str = setting(
        "float32",
        "What the networks compute in: float32, bf16 (losses, weights and scores stay float32), or bf16 on GPUs that "
        "have it.",
        choices=("float32", "bf16", "auto"),
    )
    accumulate: int = setting(
        1, "Micro batches that each step is cut into, to save memory; batch norm sees one of them at a time.", low=1
    )
    compile: bool = setting(
        False, "Let torch's compiler make the networks' passes faster, after a first step of minutes; one process."
    )
    shard: bool = setting(
        False,
        "Split weights, gradients and optimizer among the processes (fully_shard), for large networks; one process "
        "alone trains as without.",
    )
    evaluate_every: int = setting(
        500, "Steps between evaluations on the validation list; the last step always is one.", low=1
    )
    checkpoint_every: int = setting(500, "Steps between checkpoints; the last step always is one.", low=1)
    keep_checkpoints: int = setting(2, "Newest checkpoints that stay on disk, the best one beside them.", low=1)
    log_every: int = setting(
        10, "Steps between two writes to metrics.jsonl (each step has its row) and the terminal.", low=1
    )
    gradient_terms_every: int = setting(
        0, "Steps between two measurements of each term's weighted gradient, its norm and direction; 0 = never.", low=0
    )
    watch_every: int = setting(
        20,
        "Steps between two counts of the classes that teach the unlabeled pictures; 0 = never, no collapse alarm.",
        low=0,
    )
    workers: int = setting(0, "Processes that prepare pictures; 0 prepares them in the training process.", low=0)
    threads: int | None = setting(
        None, "CPU threads of each process; empty = the usable cores shared by the processes.", low=1
    )
    collective_timeout: int = setting(600, "Seconds that a process waits for the others before it gives up.", low=1)
    deterministic: bool = setting(True, "Use deterministic algorithms, so that one seed gives one result.")


@dataclass
class RunConfig:
    """Everything a run is made of. `data` and `method` are the config dataclasses of the chosen data set and method."""

    seed: int
    device: str
    run_dir: str | None
    data: Any
    augment: AugmentConfig
    model: ModelConfig
    method: Any
    train: TrainConfig


@dataclass
class RunSettings:
    seed: int = setting(0, "Seed of every draw: order, augmentation, boxes, pairs, first weights.", low=0)
    device: str = setting("auto", "Where to compute.", choices=("auto", "cpu", "cuda", "mps"))
    run_dir: str | None = setting(None, "Run folder; empty = runs/<date>-<data>-<method>-s<seed>.")


@dataclass(frozen=True)
class Field:
    """One setting as the command line and the launch form see it."""

    key: str
    type: Any
    default: Any
    help: str
    choices: tuple
    low: float | None
    high: float | None


LATER_CHANGES = (
    "train.steps",
    "train.stop_at",
    "train.log_every",
    "train.gradient_terms_every",
    "train.watch_every",
    "train.workers",
    "train.threads",
    "train.keep_checkpoints",
    "train.collective_timeout",
    "train.shard",
    "data.cache",
    "data.cache_mb",
    "data.resident",
)


def load_config(files: Sequence[str | Path] = (), overrides: dict[str, Any] | None = None) -> RunConfig:
    """Read the files in order, then the dotted overrides; the later wins.

    Raises `UserError` with file, line and the nearest right key for a setting that does not exist, and with the
    allowed values for one that is out of range.
    """
    given = [entry for file in files for entry in read_file(file)]
    given += [Given(key, as_text(value), COMMAND_LINE) for key, value in (overrides or {}).items()]
    return build_config(given)


def build_config(given: Sequence[Given]) -> RunConfig:
    """Turn what the user wrote, in order of precedence, into a checked `RunConfig`."""
    origins = {entry.key: entry.origin for entry in given}
    method_name, data_name = chosen_names(given)
    known = {field.key: field for field in flat_fields(method_name, data_name)}
    for entry in given:
        if entry.key not in known:
            raise UserError(unknown_setting(entry, list(known), method_name, data_name))
    values = {key: field.default for key, field in known.items()}
    values |= {"method.name": method_name, "data.name": data_name}
    parser = build_parser(list(known.values()))
    for entry in given:
        if not entry.key.endswith(".name"):
            values[entry.key] = parse_value(parser, known[entry.key], entry)
    for key, value in values.items():
        check_range(known[key], value, origins.get(key))
    try:
        return assemble(values, method_name, data_name)
    except UserError as error:
        raise UserError(with_origins(str(error), origins)) from None


def flat_fields(method_name: str = "scl", data_name: str = "scenes") -> list[Field]:
    """Every setting of the schema of this method and data set, in the order of the file."""
    found = field_list(RunSettings, "")
    for section, cls in sections(method_name, data_name).items():
        found += field_list(cls, f"{section}.")
    return found


def sections(method_name: str, data_name: str) -> dict[str, type]:
    """The config dataclass of each section of the file."""
    return {
        "data": DATASETS[data_name],
        "augment": AugmentConfig,
        "model": ModelConfig,
        "method": METHODS[method_name].config_class,
        "train": TrainConfig,
    }


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The settings as a plain nested dict, ready for YAML."""
    return plain(asdict(config))


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"train": {"steps": 3}}` as `{"train.steps": 3}`."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def chosen_names(given: Sequence[Given]) -> tuple[str, str]:
    """First pass: which method and which data set the settings are for."""
    last = {entry.key: entry for entry in given}
    method = last.get("method.name", Given("method.name", "scl", ""))
    data = last.get("data.name")
    if data is None and "data.root" in last:
        data = Given("data.name", recognise_layout(last["data.root"].text), "")
    data = data or Given("data.name", "scenes", "")
    for entry, known in ((method, METHODS), (data, DATASETS)):
        if entry.text not in known:
            raise UserError(
                f"{entry.origin}: {entry.key} {entry.text!r} does not exist: choose one of {', '.join(known)}"
            )
    return method.text, data.text


def unknown_setting(entry: Given, known: list[str], method_name: str, data_name: str) -> str:
    """The sentence for a key that the schema does not have."""
    if entry.key == "data.root":
        return (
            f"{entry.origin}: data.root is set, but data.name {data_name} draws its pictures and reads no folder: "
            f"remove data.root, or set data.name to one of {', '.join(name for name in DATASETS if name != data_name)}"
        )
    section, _, name = entry.key.partition(".")
    scope = {"method": f" of method {method_name}", "data": f" of data set {data_name}"}.get(section, "")
    own = ["config", "resume", "processes"] if entry.origin == COMMAND_LINE else []
    nearest = difflib.get_close_matches(entry.key, [*known, *own], n=1, cutoff=0.0)[0]
    others = [method for method, cls in METHODS.items() if section == "method" and name in fields_of(cls.config_class)]
    belongs = f", it is one of {', '.join(others)}" if others else ""
    return f"{entry.origin}: unknown setting {entry.key}{scope}{belongs}; the nearest is {nearest}"


def fields_of(config_class: type) -> set[str]:
    """The names of a config's settings."""
    return {field.name for field in fields(config_class)}


def build_parser(known: Sequence[Field]) -> jsonargparse.ArgumentParser:
    """A typed parser with one option for each setting."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    for field in known:
        parser.add_argument(f"--{field.key}", type=field.type, default=field.default, help=help_text(field))
    return parser


def parse_value(parser: jsonargparse.ArgumentParser, field: Field, entry: Given) -> Any:
    """The value of one setting in its type. Raises `UserError` that says where it stands and what was expected."""
    try:
        parsed = parser.parse_args([f"--{entry.key}={entry.text}"], defaults=False)
    except Exception as error:
        expected = type_words(field.type)
        raise UserError(f"{entry.origin}: {entry.key} {entry.text!r} is not {expected}") from error
    return parsed[entry.key]


def check_range(field: Field, value: Any, origin: str | None) -> None:
    """Refuse a value outside the setting's choices or bounds."""
    where = f"{origin}: " if origin else ""
    if field.choices and value not in field.choices:
        raise UserError(f"{where}{field.key} {value!r} is not one of {', '.join(map(str, field.choices))}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        too_low = field.low is not None and value < field.low
        if too_low or (field.high is not None and value > field.high) or value != value:
            raise UserError(f"{where}{field.key} {value} is out of range: allowed are {range_words(field)}")


def range_words(field: Field) -> str:
    """A setting's bounds in words."""
    if field.low is not None and field.high is not None:
        return f"values from {field.low} to {field.high}"
    return f"values from {field.low} up" if field.high is None else f"values up to {field.high}"


def assemble(values: dict[str, Any], method_name: str, data_name: str) -> RunConfig:
    """Build the dataclasses from the flat values; their own checks run here."""
    built = {}
    for section, cls in sections(method_name, data_name).items():
        names = [field.name for field in fields(cls)]
        built[section] = cls(**{name: values[f"{section}.{name}"] for name in names})
    return RunConfig(seed=values["seed"], device=values["device"], run_dir=values["run_dir"], **built)


def with_origins(message: str, origins: dict[str, str]) -> str:
    """Put file and line of the first setting that the message names in front of it."""
    for word in message.replace(",", " ").split():
        if word in origins:
            return f"{origins[word]}: {message}"
    return message


def field_list(cls: type, prefix: str) -> list[Field]:
    """The settings of one config dataclass, their keys with `prefix` in front."""
    hints = typing.get_type_hints(cls)
    return [
        Field(
            prefix + item.name,
            hints[item.name],
            item.default,
            item.metadata.get("help", ""),
            item.metadata.get("choices", ()),
            item.metadata.get("low"),
            item.metadata.get("high"),
        )
        for item in fields(cls)
    ]


def help_text(field: Field) -> str:
    """What `--help` says of a setting: its help and its allowed values."""
    allowed = f" One of: {', '.join(map(str, field.choices))}." if field.choices else ""
    return (field.help + allowed).replace("%", "%%")


def type_words(kind: Any) -> str:
    """The type in words a user reads: `a whole number or null`."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return " or ".join(type_words(part) for part in typing.get_args(kind))
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
    return words.get(kind, str(kind))


def plain(value: Any) -> Any:
    """Tuples as lists, so that YAML and JSON hold nothing but plain types."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

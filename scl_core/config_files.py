"""Settings as a user writes them, each with the place where it stands, so that an error can name file and line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scl_core.errors import UserError

COMMAND_LINE = "the command line"


@dataclass(frozen=True)
class Given:
    """One setting as the user wrote it: dotted key, text of the value, and where it stands."""

    key: str
    text: str
    origin: str


def read_file(path: str | Path, is_base: bool = False) -> list[Given]:
    """The settings of one YAML file, each with its line, after those of the file that its `base:` names.

    Scalars stay as written, so `1_8` is a name and not 18.
    """
    path = Path(path)
    root = compose(path)
    own = list(walk_node(root, "", path)) if root is not None else []
    bases = [entry for entry in own if entry.key == "base"]
    if bases and is_base:
        raise UserError(f"{bases[0].origin}: a base file cannot have a base of its own")
    inherited = [entry for base in bases for entry in read_file(path.parent / base.text, is_base=True)]
    return inherited + [entry for entry in own if entry.key != "base"]


def compose(path: Path) -> yaml.MappingNode | None:
    """The YAML tree of a file, None when it is empty. Raises `UserError` with file and line."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file") from None
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where}: not a YAML file: {getattr(error, 'problem', error)}") from None
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}: expected settings as 'section:' and 'name: value' lines")
    return root


def walk_node(node: yaml.MappingNode, prefix: str, path: Path):
    """Yield the leaves of a composed YAML mapping as `Given`."""
    for key_node, value_node in node.value:
        key = prefix + str(key_node.value)
        if isinstance(value_node, yaml.MappingNode):
            yield from walk_node(value_node, key + ".", path)
        else:
            yield Given(key, node_text(value_node), f"{path}, line {key_node.start_mark.line + 1}")


def node_text(node: yaml.Node) -> str:
    """A YAML scalar or list as the text that the command line would have."""
    if isinstance(node, yaml.SequenceNode):
        return "[" + ", ".join(node_text(item) for item in node.value) + "]"
    return "null" if node.tag == "tag:yaml.org,2002:null" else str(node.value)


def as_text(value: Any) -> str:
    """A value as the text that the command line would have."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)

"""What the commands share: dotted options, help, and how an error becomes an exit status."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jsonargparse
import yaml

from scl_core.config import RunConfig, build_config, build_parser, chosen_names, flat_fields, to_dict
from scl_core.config_files import COMMAND_LINE, Given, read_file
from scl_core.errors import Fault, UserError


@dataclass
class Options:
    """A command's options: settings in order of precedence, and the options of the command itself."""

    files: list[str] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)
    own: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def entries(self) -> list[Given]:
        """The settings of the files, then those of the command line; the later wins."""
        return [entry for file in self.files for entry in read_file(file)] + self.given

    def config(self) -> RunConfig:
        """The settings, checked."""
        return build_config(self.entries())


def read_options(argv: Sequence[str], own: Sequence[str] = (), flags: Sequence[str] = ()) -> Options:
    """Split `argv` into config files, dotted settings, the command's `own` options and `flags`, and plain words.

    `-` and `_` in a name are the same; nothing is abbreviated. Raises `UserError` for an option without a value.
    """
    options = Options()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            options.words.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if name in flags:
            options.own[name] = value or "true"
            continue
        if not equals:
            value = take_value(name, rest)
        store_option(options, name, value, own)
    return options


def take_value(name: str, rest: list[str]) -> str:
    """The value behind an option. Raises `UserError` when the next word is an option or there is none."""
    if not rest or rest[0].startswith("--"):
        raise UserError(f"{COMMAND_LINE}: --{name} needs a value: --{name} VALUE")
    return rest.pop(0)


def store_option(options: Options, name: str, value: str, own: Sequence[str]) -> None:
    """Put an option where it belongs: config file, own option of the command, or setting."""
    if name == "config":
        options.files.append(value)
    elif name in own:
        options.own[name] = value
    else:
        options.given.append(Given(name, value, COMMAND_LINE))


def whole_number(options: Options, name: str, default: int) -> int:
    """An own option that counts something, at least 1."""
    text = options.own.get(name, str(default))
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"{COMMAND_LINE}: --{name} {text!r} is not a whole number from 1 up")
    return int(text)


def print_settings_help(usage: str, options: Options) -> None:
    """The usage of a command, then every setting of the chosen method and data set."""
    parser: jsonargparse.ArgumentParser = build_parser(flat_fields(*chosen_names(options.entries())))
    parser.usage = usage
    parser.print_help()


def print_config(options: Options) -> None:
    """The complete settings as YAML, ready to be a config file."""
    print(yaml.safe_dump(to_dict(options.config()), sort_keys=False), end="")


def run_command(command: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run a command: 0 did its work, 2 a user's mistake (one line on stderr), 1 a fault, 130 an interrupt."""
    try:
        return command(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        return tell(error, 2)
    except Fault as error:
        return tell(error, 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception:
        traceback.print_exc()
        return 1


def tell(error: Exception, status: int) -> int:
    """One line on stderr, by rank 0 alone; returns the exit status."""
    if os.environ.get("RANK", "0") == "0":
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return status


def existing_folder(text: str, what: str) -> Path:
    """The folder that the user named. Raises `UserError` where there is none."""
    path = Path(text)
    if not path.is_dir():
        raise UserError(f"{text}: no such {what}")
    return path

"""How a setting is declared: a dataclass field with its help text and, where it has them, its allowed values."""

from dataclasses import field


def setting(default, help: str, choices: tuple = (), low=None, high=None):
    """Declare one setting of a config dataclass.

    `help` is shown by `--help` and in the launch form; `choices` are the allowed values; `low` and `high` bound a
    number (both inclusive, None = open). The bounds are checked in one place, `scl_core.config`.
    """
    return field(default=default, metadata={"help": help, "choices": tuple(choices), "low": low, "high": high})

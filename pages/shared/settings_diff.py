"""The settings of several runs side by side."""

import pandas as pd

from pages.shared import store
from scl_core.errors import UserError

MISSING = "–"
NO_SETTINGS = ("run_dir",)


def flatten(settings: object, prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted keys with their values as text."""
    if not isinstance(settings, dict):
        return {prefix: MISSING if settings is None else str(settings)}
    flat: dict[str, str] = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def settings_table(runs: dict[str, str], only_differences: bool) -> pd.DataFrame:
    """Settings as rows, runs as columns; `runs` maps a column's title to a run's name. Unreadable runs are left out."""
    columns = {}
    for title, name in runs.items():
        try:
            columns[title] = flatten(store.run_folder(name).config())
        except (UserError, OSError):
            continue
    keys = [
        key for key in dict.fromkeys(key for column in columns.values() for key in column) if key not in NO_SETTINGS
    ]
    sections = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    keys.sort(key=lambda key: sections.index(key.partition(".")[0]))
    rows = [{"Setting": key} | {title: column.get(key, MISSING) for title, column in columns.items()} for key in keys]
    if only_differences:
        rows = [row for row in rows if len({row[title] for title in columns}) > 1]
    return pd.DataFrame(rows, columns=["Setting", *columns])

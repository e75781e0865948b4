"""YAML of plain values, read fast and without trusting the file."""

import contextlib
from typing import Any

import yaml

from scl_core.storage.files import DamagedFile

DEPTH_LIMIT = 32
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class SafeText(Loader):
    """A YAML text of plain values alone; anything that names a type or a call is an error."""

    def close(self) -> None:
        self.dispose()


class PlainDumper(yaml.SafeDumper):
    """Writes a value that occurs twice twice, instead of naming it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(value: dict[str, Any]) -> str:
    """A mapping of plain values as YAML, keys in their order."""
    return yaml.dump(value, Dumper=PlainDumper, sort_keys=False, allow_unicode=True)


def parse_yaml(content: bytes) -> dict[str, Any]:
    """The mapping that a YAML text holds. Raises `DamagedFile`.

    Deep nesting is refused before it is built, for it crashes the fast loader; so are aliases, which swell.
    """
    try:
        refuse_tricks(content)
        with contextlib.closing(SafeText(content)) as text:
            value = text.get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError, MemoryError) as error:
        raise DamagedFile(f"no readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise DamagedFile("no YAML mapping")
    return value


def refuse_tricks(content: bytes) -> None:
    """Raise `DamagedFile` for nesting and aliases that no settings need."""
    depth = 0
    for event in yaml.parse(content, Loader=Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_LIMIT:
            raise DamagedFile(f"nested deeper than {DEPTH_LIMIT} levels, {event.start_mark}")
        if isinstance(event, yaml.AliasEvent):
            raise DamagedFile(f"an alias, {event.start_mark}")

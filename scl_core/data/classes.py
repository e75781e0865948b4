"""Class names and their colors: reading them from a file, and a default color for each class."""

import json
from pathlib import Path

import numpy as np

from scl_core.errors import UserError

EXAMPLE = "road 128 64 128\nbuilding 70 70 70\ncar 0 0 142"


def read_classes(path: str | Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Read class names and colors: names [C], palette uint8 [C, 3].

    `.txt`: one class per line, "name" or "name red green blue". `.json`: a list, or an object with a list under
    "classes", of names or of {"name": ..., "color": [r, g, b]}. Classes without a color get one of `default_palette`.
    Raises UserError with file and line (or entry) for a wrong color, a repeated or empty name, or too many classes.
    """
    rows = _json_rows(Path(path)) if Path(path).suffix == ".json" else _text_rows(Path(path))
    names = [name for _, name, _ in rows]
    if not 1 <= len(names) <= 255:
        raise UserError(f"{path}: {len(names)} classes; there must be 1 to 255 (255 is the ignored index)")
    for place, name, color in rows:
        if not name or names.count(name) > 1:
            raise UserError(f"{path} {place}: class name '{name}' is {'repeated' if name else 'empty'}")
        if color is not None and not (len(color) == 3 and all(type(c) is int and 0 <= c <= 255 for c in color)):
            raise UserError(f"{path} {place}: color {color} of '{name}' is not three numbers 0 to 255")
    palette = default_palette(len(names))
    for index, (_, _, color) in enumerate(rows):
        palette[index] = palette[index] if color is None else color
    return tuple(names), palette


def default_palette(num_classes: int) -> np.ndarray:
    """Return distinct colors, uint8 [C, 3], that do not change with the number of classes; none is black."""
    index = np.arange(1, num_classes + 1)
    palette = np.zeros((num_classes, 3), dtype=np.uint8)
    for bit in range(8):  # the bits of the index, dealt to red, green, blue in turn, the lowest bit the strongest
        for channel in range(3):
            source = (index >> (3 * bit + channel)) & 1
            palette[:, channel] |= (source << (7 - bit)).astype(np.uint8)
    return palette


def _text_rows(path: Path) -> list[tuple[str, str, list[int] | None]]:
    rows = []
    for number, text in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        words = text.split()
        if not words:
            continue
        has_color = len(words) > 3 and all(word.lstrip("-").isdigit() for word in words[-3:])
        color = [int(word) for word in words[-3:]] if has_color else None
        rows.append((f"line {number}", " ".join(words[:-3] if has_color else words), color))
    return rows


def _json_rows(path: Path) -> list[tuple[str, str, list[int] | None]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    items = content.get("classes") if isinstance(content, dict) else content
    if not isinstance(items, list):
        raise UserError(f"{path}: expected a list of classes, or an object with one under 'classes'")
    return [_json_row(path, f"entry {number}", item) for number, item in enumerate(items, start=1)]


def _json_row(path: Path, place: str, item) -> tuple[str, str, list[int] | None]:
    item = {"name": item} if isinstance(item, str) else item
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise UserError(f"{path} {place}: expected a name or an object with 'name' and 'color'")
    color = item.get("color")
    if color is not None and not isinstance(color, list):
        raise UserError(f"{path} {place}: color {color} of '{item['name']}' is not three numbers 0 to 255")
    return place, item["name"], color


def class_numbers(setting: str, text: str | None, class_names: tuple[str, ...] | None = None) -> tuple[int, ...]:
    """The numbers of classes that a setting lists, "5, 6, 17"; empty for None.

    Raises UserError naming the setting for what is no number and, where `class_names` are known, for what is no class.
    """
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    wrong = [word for word in words if not word.isdecimal()]
    if wrong:
        raise UserError(f"{setting}: {wrong[0]!r} is not the number of a class; write them as 5,6,7")
    numbers = tuple(map(int, words))
    if class_names is not None and max(numbers, default=0) >= len(class_names):
        known = ", ".join(f"{number} {name}" for number, name in enumerate(class_names))
        raise UserError(f"{setting}: {max(numbers)} is no class; there are {known}")
    return numbers

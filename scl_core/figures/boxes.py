"""CutMix boxes as pictures: in paste order, as the owner map, and what later boxes cover of one of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from scl_core.figures.pictures import picture_figure

PASTE_SCALE = "Viridis"
"""Colours of the paste order, from the box pasted first (dark) to the one pasted last (bright)."""

HALO = "rgba(0, 0, 0, 0.6)"


def paste_colors(num_boxes: int) -> list[str]:
    """One "#rrggbb" for each box in paste order; they grow brighter, so the order is readable without colour."""
    places = np.linspace(0.2, 1.0, num_boxes) if num_boxes > 1 else [1.0]
    found = sample_colorscale(PASTE_SCALE, list(places), colortype="tuple") if num_boxes else []
    return ["#" + "".join(f"{round(255 * part):02x}" for part in color) for color in found]


def box_figure(
    image: np.ndarray,
    owner: np.ndarray,
    records: Sequence[Mapping],
    chosen: int | None = None,
    total: int | None = None,
) -> go.Figure:
    """The picture with its boxes, in paste order; boxes with a structured loss solid, the others dashed.

    `image` uint8 [H, W, 3]; `owner` [H, W], the top-most box of each pixel, -1 outside (and, where they are to count as
    shown by no box, on padded pixels); `records` one for each box, as
    `scl_core.probe.BoxReport` holds them. Hover tells size, visible share, pairs, loss and share of the loss. `total`
    is the number of boxes when more are to come, so that a box keeps its colour.
    """
    colors = paste_colors(total or len(records))
    lines = [_outline(*drawn, chosen == drawn[0]["number"]) for drawn in zip(records, colors, strict=False)]
    others = [record for record in records if record["number"] != chosen]
    halos = [_halo(others, 4.4), _halo([record for record in records if record["number"] == chosen], 6.2)]
    return picture_figure(image, traces=[*halos, *lines], notes=_numbers(owner, records))


def owner_figure(
    image: np.ndarray,
    owner: np.ndarray,
    records: Sequence[Mapping],
    chosen: int | None = None,
    total: int | None = None,
) -> go.Figure:
    """Which box each pixel shows: visible parts in the colour of their paste order, the rest of the picture dimmed.

    Arguments as `box_figure`.
    """
    pixels = owner_picture(image, owner, total or len(records), chosen)
    lines = [_outline(record, "rgba(0, 0, 0, 0)") for record in records]
    return picture_figure(pixels, traces=lines, notes=_numbers(owner, records))


def occlusion_figure(image: np.ndarray, owner: np.ndarray, record: Mapping, num_boxes: int) -> go.Figure:
    """One box close up: the pixels it still shows, and which later box covers each of the others (hatched).

    Arguments as `box_figure`; `record` is the box's own. Rows and columns are those of the whole picture.
    """
    top, left, height, width = (record[name] for name in ("top", "left", "height", "width"))
    number = record["number"]
    inside = (slice(top, top + height), slice(left, left + width))
    zoom = max(1, 480 // max(height, width))
    pixels = _hatched(image[inside], owner[inside], number, paste_colors(num_boxes), zoom)
    later = owner[inside].astype(np.float32)
    words = {
        "type": "heatmap",
        "z": np.where(later < 0, np.nan, later),
        "x0": left,
        "y0": top,
        "opacity": 0,
        "showscale": False,
        "hoverongaps": False,
        "hovertemplate": "row %{y}, column %{x}<br>box %{z} shows here<extra></extra>",
    }
    notes = []
    for other in np.unique(later[(later != number) & (later >= 0)]).astype(int):
        covered = later == other
        if covered.sum() > later.size / 50:
            row, column = _centre(covered)
            notes.append(_badge(top + row, left + column, str(other)))
    return picture_figure(pixels, top, left, zoom, [words], notes)


def owner_picture(image: np.ndarray, owner: np.ndarray, num_boxes: int, chosen: int | None = None) -> np.ndarray:
    """The pixels of `owner_figure`, uint8 [H, W, 3]."""
    colors = np.array([_rgb(color) for color in paste_colors(num_boxes)], dtype=np.float32).reshape(-1, 3)
    gray = _gray(image)
    pixels = 0.45 * gray + 40
    inside = owner >= 0
    if inside.any():
        light = 0.65 + 0.35 * gray[inside] / 255
        pixels[inside] = colors[owner[inside]] * light
    if chosen is not None:
        pixels[inside & (owner != chosen)] *= 0.45
    pixels[_edges(owner)] = 255
    return pixels.clip(0, 255).astype(np.uint8)


def visible_picture(image: np.ndarray, owner: np.ndarray, number: int) -> np.ndarray:
    """T_n of eq. 8: the pixels that box `number` still shows, the rest dimmed to gray, uint8 [H, W, 3]."""
    pixels = 0.3 * _gray(image) + 30
    shown = owner == number
    pixels[shown] = image[shown]
    pixels[_rim(shown)] = 255
    return pixels.clip(0, 255).astype(np.uint8)


def describe_box(record: Mapping) -> str:
    """What the hover says about a box, as lines joined by <br>."""
    height, width, visible = record["height"], record["width"], record["visible"]
    part = "in the structured loss" if record["in_loss"] else "not in the structured loss"
    lines = [
        f"<b>box {record['number']}</b>, {part}",
        f"{height} × {width} px, {visible:,} visible ({record['share']:.0%})",
    ]
    if record["in_loss"]:
        lines.append(f"{record['pairs']:,} pairs of {visible**2:,}")
    if record["loss"] is not None:
        lines.append(f"loss {record['loss']:.5f}, {record['loss_share']:.1%} of all boxes")
    return "<br>".join(lines)


def _corners(record: Mapping) -> tuple[list, list]:
    """The places of a box's outline, columns and rows, closed."""
    left, top = record["left"] - 0.5, record["top"] - 0.5
    right, bottom = left + record["width"], top + record["height"]
    return [left, right, right, left, left], [top, top, bottom, bottom, top]


def _halo(records: Sequence[Mapping], width: float) -> dict:
    """One dark line under the coloured lines of these boxes, so that they are visible on any picture."""
    x, y = [], []
    for columns, rows in map(_corners, records):
        x += [*columns, None]
        y += [*rows, None]
    return {"type": "scatter", "x": x, "y": y, "mode": "lines", "line": {"color": HALO, "width": width},
            "hoverinfo": "skip"}  # fmt: skip


def _outline(record: Mapping, color: str, chosen: bool = False) -> dict:
    """The coloured line of a box; hover on its inside."""
    x, y = _corners(record)
    return {
        "type": "scatter",
        "x": x,
        "y": y,
        "mode": "lines",
        "line": {"color": color, "width": 4 if chosen else 2.2, "dash": "solid" if record["in_loss"] else "6px,4px"},
        "fill": "toself",
        "fillcolor": "rgba(0, 0, 0, 0)",
        "hoveron": "fills",
        "hoverinfo": "text",
        "text": describe_box(record),
        "name": f"box {record['number']}",
    }


def _numbers(owner: np.ndarray, records: Sequence[Mapping]) -> list[dict]:
    """Each box's number on a pixel that it shows; a box that shows none has no number."""
    smallest, notes = owner.size / 1200, []
    for record in records:
        shown = owner == record["number"]
        if shown.sum() > smallest:
            row, column = _centre(shown)
            notes.append(_badge(row, column, str(record["number"])))
    return notes


def _badge(row: float, column: float, text: str) -> dict:
    return {
        "x": column,
        "y": row,
        "text": text,
        "showarrow": False,
        "font": {"color": "white", "size": 11},
        "bgcolor": "rgba(0, 0, 0, 0.62)",
        "borderpad": 1.5,
        "captureevents": False,
    }


def _centre(mask: np.ndarray) -> tuple[int, int]:
    """A pixel deep inside a mask, as (row, column): the mask is peeled from its rim until nothing would be left."""
    rows, columns = np.nonzero(mask)
    top, left = rows.min(), columns.min()
    rest = mask[top : rows.max() + 1, left : columns.max() + 1]
    while (peeled := _peeled(rest)).any():
        rest = peeled
    rows, columns = np.nonzero(rest)
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return int(top + rows[nearest]), int(left + columns[nearest])


def _peeled(mask: np.ndarray) -> np.ndarray:
    """A mask without the pixels that touch its outside on a side; the border of the array is outside."""
    wide = np.pad(mask, 1)
    return mask & wide[2:, 1:-1] & wide[:-2, 1:-1] & wide[1:-1, 2:] & wide[1:-1, :-2]


def _hatched(image: np.ndarray, owner: np.ndarray, number: int, colors: Sequence[str], zoom: int) -> np.ndarray:
    """The box enlarged, each covered pixel in the colour of the box that covers it, with diagonal lines."""
    pixels = np.kron(image, np.ones((zoom, zoom, 1), dtype=np.uint8)).astype(np.float32)
    large = np.kron(owner, np.ones((zoom, zoom), dtype=np.int64))
    rows, columns = np.indices(large.shape)
    step = max(6, min(large.shape) // 16)
    lines = (rows + columns) % step < max(1, step // 4)
    palette = np.array([_rgb(color) for color in (*colors, "#808080")], dtype=np.float32)
    covered = large != number
    pixels[covered] = 0.2 * pixels[covered] + 0.5 * palette[large[covered]]
    pixels[covered & lines] = 0.3 * pixels[covered & lines]
    pixels[_edges(large)] = 255
    return pixels.clip(0, 255).astype(np.uint8)


def _edges(owner: np.ndarray) -> np.ndarray:
    """True where the pixel to the right or below belongs to another region."""
    edges = np.zeros(owner.shape, dtype=bool)
    edges[:, :-1] |= owner[:, :-1] != owner[:, 1:]
    edges[:-1] |= owner[:-1] != owner[1:]
    return edges


def _rim(mask: np.ndarray) -> np.ndarray:
    """True on the pixels outside a mask that touch it on a side."""
    wide = np.pad(mask, 1)
    touched = wide[2:, 1:-1] | wide[:-2, 1:-1] | wide[1:-1, 2:] | wide[1:-1, :-2]
    return touched & ~mask


def _gray(image: np.ndarray) -> np.ndarray:
    """Luminance repeated over three channels, float32 [H, W, 3]."""
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.repeat((image @ weights)[..., None], 3, axis=2).astype(np.float32)


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[start : start + 2], 16) for start in (1, 3, 5))

"""The insides of the methods beside SCL as pictures: panels side by side, matrices with marks, agreement by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from scl_core.figures.pictures import png_uri
from scl_core.figures.style import empty, finish, plain, series_style

SHARE_SCALE = "Cividis"
DIMMED = 0.18  # of a picture's brightness, where it is not meant
MARK = "#D55E00"
MOST_TICKS = 48


@dataclass(frozen=True)
class Panel:
    """A picture, uint8 [H, W, 3], with its title."""

    title: str
    pixels: np.ndarray


def class_pixels(classes: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """A map of classes [H, W] in their colors, uint8 [H, W, 3]; `palette` uint8 [C, 3], a class below 0 is gray."""
    colors = np.vstack([palette, np.full((1, 3), 127, dtype=np.uint8)])
    return colors[np.where(classes < 0, len(palette), classes)]


def only_where(pixels: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """The picture, dark where `shown` [H, W] is False."""
    return np.where(shown[..., None], pixels, (DIMMED * pixels).astype(np.uint8))


def share_pixels(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1, [H, W], in the colors of `SHARE_SCALE`: uint8 [H, W, 3]."""
    scale = np.array(sample_colorscale(SHARE_SCALE, list(np.linspace(0, 1, 256)), colortype="tuple"))
    return (255 * scale).round().astype(np.uint8)[(255 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8)]


def with_dots(pixels: np.ndarray, places: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """The picture with the pixels at `places` [n, 2] (rows, columns) in one color."""
    marked = pixels.copy()
    marked[places[:, 0], places[:, 1]] = color
    return marked


def panels_figure(panels: Sequence[Panel], columns: int = 3, width: int = 1060) -> go.Figure:
    """The pictures in rows of `columns`, pixel for pixel and none resampled; the height follows from `width` pixels."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    titles = [plain(panel.title) for panel in panels]
    figure = make_subplots(rows, columns, subplot_titles=titles, horizontal_spacing=0.02, vertical_spacing=0.22 / rows)
    for index, panel in enumerate(panels):
        height, across = panel.pixels.shape[:2]
        place = {"row": index // columns + 1, "col": index % columns + 1}
        figure.add_trace(go.Image(source=png_uri(panel.pixels), hoverinfo="skip"), **place)
        figure.update_xaxes(visible=False, range=[-0.5, across - 0.5], constrain="domain", **place)
        figure.update_yaxes(visible=False, range=[height - 0.5, -0.5], constrain="domain", **place)
    tall = max(panel.pixels.shape[0] / panel.pixels.shape[1] for panel in panels)
    figure.update_annotations(font_size=13)
    figure.update_yaxes(constraintoward="top")
    margin = {"l": 0, "r": 0, "t": 26, "b": 0}
    transparent = dict.fromkeys(("plot_bgcolor", "paper_bgcolor"), "rgba(0, 0, 0, 0)")
    return figure.update_layout(
        height=round(rows * (width / columns * tall + 34)), margin=margin, dragmode=False, **transparent
    )


def similarity_figure(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], positives: Sequence[int] = (), height: int = 380
) -> go.Figure:
    """A matrix of similarities [R, N] with named rows and columns; `positives` marks one column in each row.

    The scale goes from 0 (or -1 where a value is below) to 1. The other columns of a marked row are its negatives.
    """
    low = -1.0 if values.size and values.min() < -1e-6 else 0.0
    figure = go.Figure()
    if not values.size:
        return empty(figure.update_layout(height=height), "no region to compare")
    figure.add_heatmap(
        z=values.astype(np.float32),
        zmin=low,
        zmax=1.0,
        colorscale=SHARE_SCALE,
        colorbar={"thickness": 11, "outlinewidth": 0},
        customdata=[[f"{plain(row)} with {plain(column)}" for column in columns] for row in rows],
        hovertemplate="%{customdata}: %{z:.4f}<extra></extra>",
    )
    if len(positives):
        marker = {"symbol": "square-open", "size": 13, "color": MARK, "line": {"width": 3}}
        figure.add_scatter(
            x=list(positives),
            y=list(range(len(rows))),
            mode="markers",
            marker=marker,
            hoverinfo="skip",
            name="positive",
        )
    for axis, names in ((figure.update_xaxes, columns), (figure.update_yaxes, rows)):
        step = max(1, -(-len(names) // MOST_TICKS))
        axis(tickvals=list(range(0, len(names), step)), ticktext=[plain(name) for name in names[::step]])
        axis(showgrid=False, zeroline=False, automargin=True)
    figure.update_yaxes(autorange="reversed")
    margin = {"l": 4, "r": 4, "t": 8, "b": 4}
    return figure.update_layout(height=height, margin=margin, plot_bgcolor="rgba(0, 0, 0, 0)", dragmode=False)


def agreement_figure(agreement: Mapping[int, np.ndarray], class_names: Sequence[str], height: int = 380) -> go.Figure:
    """How far two networks agree on each class: `agreement` gives for a training step float [C], NaN for no pixel."""
    figure, steps = go.Figure(), sorted(agreement)
    values = np.array([agreement[step] for step in steps]).reshape(len(steps), len(class_names))
    for number, name in enumerate(class_names):
        if not np.isfinite(values[:, number]).any():
            continue
        style = series_style(number)
        figure.add_scatter(
            x=steps,
            y=100 * values[:, number],
            name=plain(name),
            mode="lines+markers",
            line={"color": style.color, "dash": style.dash},
            marker={"symbol": style.marker, "size": 9},
            hovertemplate="%{y:.1f} %",
        )
    finish(figure, "Agreement of the two networks by class", "training step", "agreement in %", height)
    return figure.update_yaxes(range=[0, 102])

"""A run's checkpoints one after another on the same pair: a slider that plays in the browser, without the server."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from scl_core.figures.pictures import png_uri

FRAME_MS = 700
PICTURE_WIDTH, TITLES, CONTROLS = 340, 34, 120  # pixels: of one of the three pictures, above it, above and below it


def checkpoints_figure(
    steps: Sequence[int], teacher: Sequence[np.ndarray], student: Sequence[np.ndarray], palette: np.ndarray
) -> go.Figure:
    """Teacher, student and where they differ (white) at each of `steps`; `palette` uint8 [C, 3].

    `teacher`, `student`: most probable classes [H, W]. Raises ValueError without a step.
    """
    if not len(steps):
        raise ValueError("no step to show")
    figure = make_subplots(rows=1, cols=3, subplot_titles=("teacher", "student", "differ"), horizontal_spacing=0.02)
    images = [_images(*maps, palette) for maps in zip(teacher, student, strict=True)]
    for column, trace in enumerate(images[-1], start=1):
        figure.add_trace(trace, row=1, col=column)
    figure.frames = [
        go.Frame(data=found, name=str(step), traces=[0, 1, 2]) for step, found in zip(steps, images, strict=True)
    ]
    height, width = teacher[0].shape
    figure.update_xaxes(visible=False, range=[-0.5, width - 0.5], constrain="domain")
    figure.update_yaxes(visible=False, range=[height - 0.5, -0.5], constrain="domain", constraintoward="top")
    for column, axis in ((1, "x"), (2, "x2"), (3, "x3")):
        figure.update_yaxes(scaleanchor=axis, row=1, col=column)
    return figure.update_layout(
        sliders=[_slider(steps)] if len(steps) > 1 else [],
        updatemenus=[_buttons()] if len(steps) > 1 else [],
        height=round(PICTURE_WIDTH * height / width) + (CONTROLS if len(steps) > 1 else TITLES),
        margin={"l": 4, "r": 4, "t": 30, "b": 4},
        plot_bgcolor="rgba(0, 0, 0, 0)",
        dragmode=False,
    )


def _images(teacher: np.ndarray, student: np.ndarray, palette: np.ndarray) -> list[go.Image]:
    differ = np.where((teacher != student)[..., None], 255, palette[teacher] // 4).astype(np.uint8)
    return [
        go.Image(source=png_uri(pixels), hoverinfo="skip") for pixels in (palette[teacher], palette[student], differ)
    ]


def _slider(steps: Sequence[int]) -> dict:
    show = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    return {
        "active": len(steps) - 1,
        "x": 0.1,
        "len": 0.9,
        "y": -0.02,
        "pad": {"t": 6},
        "currentvalue": {"prefix": "step ", "xanchor": "left"},
        "steps": [{"label": str(step), "method": "animate", "args": [[str(step)], show]} for step in steps],
    }


def _buttons() -> dict:
    play = {"frame": {"duration": FRAME_MS, "redraw": True}, "transition": {"duration": 0}}
    pause = {"mode": "immediate", "frame": {"duration": 0, "redraw": False}}
    return {
        "type": "buttons",
        "direction": "left",
        "showactive": False,
        "x": 0,
        "xanchor": "left",
        "y": -0.05,
        "yanchor": "top",
        "pad": {"t": 24},
        "buttons": [
            {"label": "▶", "method": "animate", "args": [None, play]},
            {"label": "❚❚", "method": "animate", "args": [[None], pause]},
        ],
    }

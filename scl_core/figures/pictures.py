"""A picture inside a plotly figure, pixel for pixel."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image

QUICK = 3  # effort for a page: a third of the usual time, and a tenth more bytes


def picture_figure(
    image: np.ndarray,
    top: int = 0,
    left: int = 0,
    zoom: int = 1,
    traces: Sequence[dict] = (),
    notes: Sequence[dict] = (),
) -> go.Figure:
    """A uint8 picture [H, W, 3] pixel for pixel, its axes in rows and columns of the picture; over it traces and notes.

    `top` and `left` are the place of its first pixel; `zoom` is how many of its pixels make one row or column. All of
    it is given to plotly at once: added one by one, each thing costs as much as all that are there.
    """
    height, width = image.shape[0] / zoom, image.shape[1] / zoom
    start = 0.5 / zoom - 0.5
    pixels = {"type": "image", "source": png_uri(image), "x0": left + start, "y0": top + start, "dx": 1 / zoom,
              "dy": 1 / zoom, "hoverinfo": "skip"}  # fmt: skip
    axis = {"visible": False, "constrain": "domain"}
    layout = {
        "xaxis": axis | {"range": [left - 0.5, left + width - 0.5], "constraintoward": "left"},
        "yaxis": axis | {"range": [top + height - 0.5, top - 0.5], "scaleanchor": "x", "constraintoward": "top"},
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0, "pad": 0}, "showlegend": False, "dragmode": False,
        "plot_bgcolor": "rgba(0, 0, 0, 0)", "paper_bgcolor": "rgba(0, 0, 0, 0)", "hoverlabel": {"align": "left"},
        "annotations": list(notes),
    }  # fmt: skip
    return go.Figure([pixels, *traces], layout)


def png_bytes(pixels: np.ndarray, palette: np.ndarray | None = None, effort: int = 6) -> bytes:
    """A uint8 picture, [H, W], [H, W, 3] or [H, W, 4], as a PNG file; class indices with a `palette` [C, 3].

    `effort` is that of the compression, 0 to 9.
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if palette is not None:
        picture.putpalette(palette.astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=effort)
    return buffer.getvalue()


def png_uri(pixels: np.ndarray) -> str:
    """A uint8 picture, [H, W], [H, W, 3] or [H, W, 4], as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(pixels, effort=QUICK)).decode("ascii")

"""The small figures of the lesson: an average on its way, answers at two pixels, what adds up to a loss."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from scl_core.figures.style import BLUE, VERMILLION, finish, plain, series_style

MOST_CLASSES = 6


def average_figure(decay: float, teacher: float, student: float) -> go.Figure:
    """A teacher's weight over the next updates, its student standing still: teacher_k = s + decay^k (t - s)."""
    memory = 1 / max(1 - decay, 1e-3)
    updates = np.arange(0, round(4 * memory) + 2)
    figure = go.Figure()
    values = student + decay**updates * (teacher - student)
    figure.add_scatter(x=updates, y=values, name="teacher", line={"color": BLUE, "width": 2})
    still = np.full(len(updates), student)
    figure.add_scatter(x=updates, y=still, name="student", line={"color": VERMILLION, "dash": "dash", "width": 2})
    figure.add_vline(x=memory, line={"color": "gray", "dash": "dot"})
    return finish(figure, "", "further updates", "weight", 280).update_layout(margin={"t": 12})


def answers_figure(answers: Mapping[str, np.ndarray], class_names: Sequence[str]) -> go.Figure:
    """Probabilities [C] of several answers as bars beside each other, of the classes that matter in any of them."""
    top = np.max(list(answers.values()), axis=0)
    classes = np.sort(np.argsort(-top)[:MOST_CLASSES])
    figure = go.Figure()
    for index, (name, probs) in enumerate(answers.items()):
        style = series_style(index)
        marker = {"color": style.color, "pattern": {"shape": style.pattern}}
        figure.add_bar(x=[plain(class_names[c]) for c in classes], y=probs[classes], name=plain(name), marker=marker)
    finish(figure, "", "", "probability", 290).update_yaxes(range=[0, 1])
    figure.update_layout(margin={"t": 12}, legend={"y": 1.02, "yanchor": "bottom"}, hovermode="closest")
    return figure


def terms_figure(records: Sequence[Mapping]) -> go.Figure:
    """What each box adds to the structured loss; `records` have `number`, `term` and `visible`."""
    figure = go.Figure(
        go.Bar(
            x=[f"box {record['number']}" for record in records],
            y=[record["term"] for record in records],
            customdata=[record["visible"] for record in records],
            marker_color=BLUE,
            hovertemplate="%{x}: %{y:.5f}<br>%{customdata:,} pixels<extra></extra>",
        )
    )
    return finish(figure, "", "", "adds to the loss", 300).update_layout(margin={"t": 12}, hovermode="closest")


def sum_figure(weighted: Mapping[str, float]) -> go.Figure:
    """The weighted terms of a loss in one bar, with their names and values in it."""
    figure = go.Figure()
    for index, (name, value) in enumerate(weighted.items()):
        style = series_style(index)
        marker = {"color": style.color, "pattern": {"shape": style.pattern}}
        figure.add_bar(
            y=["loss"], x=[value], orientation="h", name=f"{plain(name)} {value:.4f}", marker=marker,
            hovertemplate=f"{plain(name)} %{{x:.5f}}<extra></extra>",
        )  # fmt: skip
    finish(figure, "", "weighted loss (unitless)", "", 210)
    figure.update_layout(
        barmode="stack",
        margin={"t": 8},
        hovermode="closest",
        legend={"y": 1.05, "yanchor": "bottom", "traceorder": "normal"},
    )
    return figure.update_yaxes(visible=False)

"""The parts of the playground: the formula and its knobs, temperature and threshold, the run's checkpoints."""

from dataclasses import fields

import numpy as np
import streamlit as st

from pages.shared import long_work, method_data, method_networks, method_views, store
from pages.shared.messages import say_problem, stop_with
from pages.shared.method_pickers import Selection, slider
from pages.shared.method_views import show_chart
from scl_core.errors import UserError
from scl_core.figures.parts import confidence_figure, weights_figure
from scl_core.figures.playing import checkpoints_figure
from scl_core.microscope.dissect import confident_share, losses_at
from scl_core.probe import Probe

KNOBS = ("ramp", "start", "confidence_threshold")
MOST_CHECKPOINTS = 12
MOST_IN_A_ROW = 5


def pick_settings(config) -> dict[str, float]:
    """A slider for each weight, ramp and threshold of the method; those that were moved."""
    names = [f.name for f in fields(config) if f.name.endswith("_weight") or f.name in KNOBS]
    names = [name for name in names if isinstance(getattr(config, name), float)]
    moved = {}
    rows = -(-len(names) // MOST_IN_A_ROW)
    columns = st.columns(-(-len(names) // rows)) if names else []
    for column, name in zip(columns * rows, names, strict=False):
        own = getattr(config, name)
        top = 1.0 if name in KNOBS else max(4.0, 2 * own)
        with column:
            value = slider(name.replace("_", " "), name, 0.0, top, own, 0.01, f"The run has {own:g}.")
        if value != own:
            moved[name] = value
    return moved


def show_formula(selection: Selection, moved: dict[str, float]) -> None:
    """The weighted sum of the whole step, term by term, and how the weights move over the schedule."""
    try:
        method = method_networks.load(selection.place.run, selection.networks).method
        told = {name: value for name, value in moved.items() if name == "confidence_threshold"}
        found = method_networks.replay(selection.place, selection.networks, told)
    except (UserError, OSError) as error:
        stop_with(error)
    weights = method_networks.weights_with(method, moved, selection.place.step)
    total = sum(weights.get(name, 0.0) * value for name, value in found.terms.items())
    named = [name for name in found.terms if name in weights]
    symbols = " + ".join(
        rf"w_{{\text{{{name.replace('_', ' ')}}}}} L_{{\text{{{name.replace('_', ' ')}}}}}" for name in named
    )
    numbers = " + ".join(rf"{weights[name]:.3f} \cdot {found.terms[name]:.4f}" for name in named)
    st.latex(rf"L = {symbols}")
    st.latex(rf"= {numbers} = \mathbf{{{total:.5f}}}")
    waiting = [name for name, weight in weights.items() if not weight]
    if waiting:
        st.caption(f"At step {selection.place.step} no weight lies on {', '.join(waiting)}: see the curve below.")
    if moved:
        st.caption(f"With the run's own settings the sum is {found.loss:.5f}." if not told else "Settings are changed.")
    else:
        method_views.show_replay(found)
    steps = np.unique(np.linspace(1, selection.config.train.steps, 120).astype(int))
    over = [method_networks.weights_with(method, moved, int(step)) for step in steps]
    curves = {name: [weights[name] for weights in over] for name in over[0]}
    show_chart(
        weights_figure(curves, steps, selection.place.step), "weights", "Weights of the terms over the steps", 280
    )


def show_pair_formula(probe: Probe) -> None:
    """Without a run: the two unlabeled terms of this pair, with weights of one's own."""
    columns = st.columns(2)
    with columns[0]:
        consistency = slider("consistency weight", "consistency_weight", 0.0, 4.0, 2.0, 0.01, "lambda_c of eq. 3.")
    with columns[1]:
        structured = slider("structured weight", "structured_weight", 0.0, 4.0, 2.0, 0.01, "lambda_sc of eq. 3.")
    total = consistency * probe.consistency + structured * probe.structured
    st.latex(
        rf"\lambda_c L_c + \lambda_{{sc}} L_{{sc}} = {consistency:.2f} \cdot {probe.consistency:.5f} + "
        rf"{structured:.2f} \cdot {probe.structured:.5f} = \mathbf{{{total:.5f}}}"
    )
    st.caption("This pair alone. Pick a run and one of its checkpoints for the whole step with its labels.")


def show_softness(probe: Probe) -> None:
    """Temperature and threshold on this pair."""
    st.subheader("How sure may the networks be?")
    left, right = st.columns(2, gap="large")
    with left:
        threshold = slider(
            "Confidence threshold", "threshold", 0.0, 1.0, 0.95, 0.01, "Pseudo labels below it are dropped."
        )
        st.metric("Pixels above the threshold", f"{confident_share(probe, threshold):.1%}")
        confidence = probe.teacher.max(0).values[probe.valid].numpy()
        show_chart(confidence_figure(confidence, threshold), "confidence", "Histogram of the teacher's confidence", 260)
    with right:
        temperature = slider("Temperature T", "temperature", 0.25, 5.0, 1.0, 0.05, "softmax(z / T) in both networks.")
        soft = losses_at(probe, temperature)
        plain = losses_at(probe, 1.0)
        for name, value, before in zip(("Pixel-wise consistency", "Structured, every pair"), soft, plain, strict=True):
            change = f"{value / before - 1:+.0%} against T = 1" if before and temperature != 1 else None
            st.metric(name, f"{value:.5f}", change, delta_color="off")
        st.caption(
            "Saturated predictions make similarities 0 or 1, and nothing is left to learn from: a T of 2 to 3 opens "
            "them again. A T below 1 sharpens. View only: training uses its own settings."
        )


def show_checkpoints(selection: Selection, palette: np.ndarray) -> None:
    """Teacher against student over the run's checkpoints, on this pair."""
    st.subheader("Teacher and student, checkpoint by checkpoint")
    steps = store.run_folder(selection.place.run).checkpoints()[-MOST_CHECKPOINTS:]
    if not steps:
        st.info("This run has no checkpoint yet. Wait for its first one, or pick another run.")
        return
    try:
        stamp = method_data.stamp(selection.place.run)
        moments = long_work.each(
            "checkpoints", (selection.place, tuple(steps), stamp), "Looking through the checkpoints", steps,
            lambda step: method_networks.moment(selection.place, step, stamp),
        )  # fmt: skip
    except (UserError, OSError) as error:
        say_problem("The checkpoints cannot be shown:", error)
        return
    if moments is None:
        return
    maps = [item.teacher for item in moments], [item.student for item in moments]
    figure = checkpoints_figure(steps, *maps, palette)
    show_chart(figure, "checkpoints", "Class maps of teacher and student", figure.layout.height)
    rows = [
        {"step": item.step, "agree, %": 100 * float((item.teacher == item.student).mean()),
         "consistency": item.consistency, "structured": item.structured}
        for item in moments
    ]  # fmt: skip
    number = st.column_config.NumberColumn
    formats = {
        "agree, %": number(format="%.1f"),
        "consistency": number(format="%.5f"),
        "structured": number(format="%.5f"),
    }
    st.dataframe(
        rows, hide_index=True, key="table_checkpoints", column_config=formats, alt="Teacher and student by checkpoint"
    )

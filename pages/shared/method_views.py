"""What all Method pages draw: charts and pictures, whose networks these are, and the step as training took it."""

import hashlib
import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from pages.shared import method_data, method_networks
from pages.shared.messages import say_problem, stop_with
from pages.shared.method_networks import OWN
from pages.shared.method_pickers import Selection
from scl_core.errors import UserError
from scl_core.figures.pictures import QUICK, png_bytes
from scl_core.microscope.replay import UNTRAINED, Replay
from scl_core.probe import BoxReport, Probe
from scl_core.structured_form import StructuredForm, form_of

STATIC = {
    "modeBarButtons": [["toImage"]],
    "displaylogo": False,
    "scrollZoom": False,
    "toImageButtonOptions": {"format": "png", "scale": 2},
}
OTHER_FORM = "The run's structured loss has another form; here it is that of the boxes, over pairs of probabilities."
SAME = 1e-5
"""How far a recomputed number may be from the logged one."""


def show_chart(figure: go.Figure, name: str, alt: str, height: int, **options) -> None:
    """A figure that can be saved as a picture and not zoomed; `alt` is what a screen reader says."""
    options.setdefault("key", f"chart_{name}")
    st.plotly_chart(figure.update_layout(height=height), alt=alt, config=STATIC, **options)


def show_picture(image: np.ndarray, alt: str) -> None:
    """A uint8 picture [H, W, 3] as wide as its column, each pixel a sharp square."""
    st.image(_png(hashlib.sha256(image.tobytes()).digest(), image.shape, image), width="stretch", alt=alt)


@st.cache_data(max_entries=32, show_spinner=False)
def _png(digest: bytes, shape: tuple, _image: np.ndarray) -> bytes:
    """The picture as a file, coded once."""
    zoom = max(1, 900 // shape[1])
    return png_bytes(np.kron(_image, np.ones((zoom, zoom, 1), dtype=np.uint8)) if zoom > 1 else _image, effort=QUICK)


def say_which_networks(selection: Selection) -> None:
    """Whose predictions these are, where it is not the plain case."""
    run, config, networks = selection.place.run, selection.config, selection.networks
    if networks.checkpoint == OWN:
        st.info("Your own network stands on both sides: what differs is what it is shown.", icon=":material/extension:")
    elif networks.checkpoint == UNTRAINED:
        how = "Pick a run to see what it learned." if run is None else "Pick a checkpoint, when the run has one."
        st.info(f"These networks are untrained: nearly all pixels look alike to them. {how}", icon=":material/egg:")
    elif not hasattr(config.method, "ema_decay") and config.method.name == "cps":
        st.info("The run's second network takes the teacher's place here.", icon=":material/info:")
    elif getattr(config.method, "ema_decay", None) is None:
        st.info("This method keeps no teacher: its student takes the teacher's place here.", icon=":material/info:")


def say_which_form(selection: Selection, probe: Probe) -> None:
    """What of the run's structured loss the page does not take apart; nothing for pairs of a region."""
    wanted = form_of(selection.config.method)
    sentence = OTHER_FORM if probe.form != wanted else not_taken_apart(wanted)
    if sentence:
        st.info(sentence, icon=":material/info:")


def not_taken_apart(form: StructuredForm) -> str | None:
    """What to say where parts of the page are not those of the run's loss."""
    if form.on != "features" and not form.teacher:
        return other_pairs(form)
    whose = f"the features of {form.teacher}" if form.teacher else "the teacher's features"
    cells = f"This run compares the cells of feature maps with {whose}: a pixel is shown as its cell is."
    return " ".join(filter(None, (cells, other_pairs(form))))


def other_pairs(form: StructuredForm) -> str | None:
    """One sentence where the run weighs pairs, or takes other ones than all of a region of one picture."""
    if form.region == "batch":
        return "This run compares the pixels of all pictures of a step; here are the pairs within this one."
    if form.region == "window":
        return (
            f"This run compares pixels at most {form.radius} rows and columns apart: so do the loss and its gradient "
            "here; matrices, heat map and class pairs are of every pair."
        )
    if not form.plain_pairs:
        return (
            "Loss, table and gradient are those of the run's form; matrices, heat map, class pairs and draws are of "
            "the plain pairs, each counting the same."
        )
    return None


def say_which_step(selection: Selection) -> bool:
    """In which mode the networks are, and whether this is the step that training took after them.

    A checkpoint that cannot be read ends the page with its reason.
    """
    place = selection.place
    try:
        after = method_networks.step_of(place.run, selection.networks)
    except (UserError, OSError) as error:
        stop_with(error)
    with st.container(horizontal=True, vertical_alignment="center"):
        if after is not None and _is_next(selection, after):
            written = place.step in method_networks.written_steps(place.run)
            st.caption("Networks in **eval mode**. " + _next_step(place.step, written))
            if not written:
                _offer_written_step(selection)
            return written
        st.caption("Networks in **eval mode**. **Not a training step**: " + _why_not(selection, after))
        if after is not None and not place.chosen:
            st.button(
                f"Show step {after + 1}", key="go_to_step", on_click=_go_to, args=(after + 1, selection.config.seed),
                help="The step that training took after these networks.",
            )  # fmt: skip
    return False


def _is_next(selection: Selection, after: int) -> bool:
    place = selection.place
    return place.step == after + 1 and place.seed == selection.config.seed and not place.chosen


def _next_step(step: int, written: bool) -> str:
    """What is said of the step after a checkpoint."""
    if not written:
        return (
            f"Step {step} is the one that training would take next: it has written no such row yet, so there is "
            "nothing to compare with."
        )
    return (
        f"**Step {step} is a training step**, the one that training took after these networks. Recomputed in train "
        "mode over the whole effective batch it gives that row of metrics.jsonl: see the end of Similarity, or "
        "Playground."
    )


def _why_not(selection: Selection, after: int | None) -> str:
    if after is None:
        return "these networks belong to no run."
    if selection.place.chosen:
        return "you chose these pictures."
    if selection.place.seed != selection.config.seed:
        return f"the run's seed is {selection.config.seed}."
    return f"these networks are those after step {after}, so training used them for step {after + 1} alone."


def _offer_written_step(selection: Selection) -> None:
    """The way to a step that can be compared with its row: after an older checkpoint, or the very first."""
    run = selection.place.run
    older = method_networks.compared_checkpoint(run)
    if older is None and 1 not in method_networks.written_steps(run):
        return
    step = 1 if older is None else older + 1
    st.button(
        f"Show step {step}, which has its row", key="go_to_written", on_click=_go_to,
        args=(step, selection.config.seed, UNTRAINED if older is None else str(older)),
        help="Recomputed with the networks before it, it gives that row of metrics.jsonl.",
    )  # fmt: skip


def _go_to(step: int, seed: int, checkpoint: str | None = None) -> None:
    st.session_state["step"], st.session_state["seed"] = step, seed
    if checkpoint is not None:
        st.session_state["checkpoint"] = checkpoint


def show_training_step(selection: Selection) -> None:
    """The whole effective batch once more as training took it, beside the row that training wrote."""
    st.subheader(f"Step {selection.place.step} as training took it")
    try:
        found = method_networks.replay(selection.place, selection.networks)
    except (UserError, OSError) as error:
        say_problem("The step cannot be taken again:", error)
        return
    show_replay(found)


def show_replay(found: Replay) -> None:
    """Terms, weights and sum; with the logged row beside them where there is one."""
    columns = _replay_columns()
    st.dataframe(
        replay_table(found), hide_index=True, key="table_replay", column_config=columns, placeholder="–",
        alt="Terms of the loss, recomputed and as logged",
    )  # fmt: skip
    pictures = f"{len(found.names)} pictures of the whole effective batch, student in {found.mode} mode"
    if found.logged is None:
        st.caption(f"{pictures}. Not a training step, or its row is not written: there is nothing to compare with.")
    elif found.largest_difference <= SAME:
        st.success(
            f"The same numbers as row {found.step} of metrics.jsonl (largest difference "
            f"{found.largest_difference:.1e}); {pictures}.",
            icon=":material/check:",
        )
    else:
        st.warning(
            f"Up to {found.largest_difference:.1e} away from row {found.step} of metrics.jsonl; {pictures}. Another "
            "machine, version or precision, or several processes, change the last digits.",
            icon=":material/difference:",
        )


def replay_table(found: Replay) -> pd.DataFrame:
    """One row for each term, and the weighted sum last."""
    logged = found.logged or {}
    rows = [
        {
            "term": name,
            "weight": found.weights.get(name),
            "recomputed": value,
            "weighted": value * found.weights.get(name, 0.0),
            "logged": logged.get(name),
        }
        for name, value in found.terms.items()
    ]
    rows.append({"term": "sum", "weighted": found.loss, "recomputed": found.loss, "logged": logged.get("loss")})
    return pd.DataFrame(rows)


def _replay_columns() -> dict:
    number = st.column_config.NumberColumn
    return {name: number(format="%.6f") for name in ("recomputed", "weighted", "logged")} | {
        "weight": number(format="%.4f")
    }


def ranked_boxes(probe: Probe) -> list[BoxReport]:
    """The boxes of the loss, the one that adds most first; those that show nothing last."""
    return sorted((box for box in probe.report if box.in_loss), key=lambda box: (-box.term, -box.visible))


def ranked_or_stop(probe: Probe) -> list[BoxReport]:
    """`ranked_boxes`; a pair without any pixel in a loss box ends the page with what to do."""
    ranked = ranked_boxes(probe)
    if not ranked or not ranked[0].visible:
        st.info("No loss box shows a pixel. Choose another step or pair, or a run with more boxes.")
        st.stop()
    return ranked


def ordinal(number: int) -> str:
    """`single`, `2nd`, `3rd`, `4th` …, for "every … row"."""
    if number == 1:
        return "single"
    return f"{number}{ {2: 'nd', 3: 'rd'}.get(number, 'th') }"


def short(value: float) -> str:
    """A small number so that its first digits show."""
    return f"{value:.5f}" if value == 0 or not math.isfinite(value) or abs(value) >= 1e-3 else f"{value:.2e}"


def class_names_of(selection: Selection) -> tuple[str, ...]:
    return method_data.classes(selection.place.run)[0]

"""What the Method pages ask for: the pair of pictures, the boxes, a pixel. The answers live in the address."""

import re

import numpy as np
import streamlit as st

from pages.shared import method_data, store
from pages.shared.method_data import BoxSettings, Place
from pages.shared.viewer import Pick
from pages.shared.words import plain_name
from scl_core.config import RunConfig
from scl_core.errors import UserError
from scl_core.probe import BoxReport, Probe

NO_RUN = "No run: drawn scenes"
FIRST_STEP, FIRST_PAIR = 2, 1
"""What is shown at first: of the drawn scenes under seed 0 a pair without padding."""
PIXEL = re.compile(r"(\d{1,5})-(\d{1,5})")


def pick_place(extra=None) -> tuple[Place, RunConfig]:
    """Run, seed, step and pair; `extra` draws one more widget in the same row, given the run's name."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        run = pick_run()
        config = config_or_stop(run)
        if extra is not None:
            extra(run)
        seed = number(
            "Seed", "seed", 0, 2**31 - 1, config.seed, "Draws order, augmentation, boxes: the run's own by default."
        )
        step = number(
            "Step", "step", 1, 10_000_000, FIRST_STEP, "The training step whose batch is shown, counted from 1."
        )
        last = config.train.batch_unlabeled - 1
        pair = number("Pair", "pair", 0, last, FIRST_PAIR, f"Which pair of the step's batch, 0 to {last}.")
    return Place(run, seed, step, pair), config


def pick_place_and_networks() -> tuple[Place, RunConfig, str]:
    """As `pick_place`, and the checkpoint: "last", "best" or a step."""
    chosen = []
    place, config = pick_place(lambda run: chosen.append(pick_checkpoint(run)))
    return place, config, chosen[0]


def pick_checkpoint(run: str | None) -> str:
    """A checkpoint of the run; without one, ends the page with what to do."""
    if run is None:
        st.selectbox("Networks", ["untrained"], disabled=True, width=150)
        return "untrained"
    steps = [str(step) for step in store.run_folder(run).checkpoints()]
    if not steps:
        st.info("This run has no checkpoint yet. Wait for its first one, or pick another run.")
        st.stop()
    return st.selectbox("Checkpoint", ["last", "best", *steps], key="checkpoint", bind="query-params", width=150)


def pick_run() -> str | None:
    """A run, or None for drawn scenes."""
    names = [summary.name for summary in store.summaries() if summary.problem is None]
    wanted = st.query_params.get("run")
    if wanted and wanted not in names:
        st.warning("The run of this address is not in the runs folder; drawn scenes are shown instead.")
    return st.selectbox(
        "Run",
        names,
        index=None,
        key="run",
        bind="query-params",
        format_func=plain_name,
        placeholder=NO_RUN,
        persist_state="session",
        width=330,
        help="Pictures, settings and networks of a run. Without one: drawn scenes, default settings, no training.",
    )


def pick_boxes(config: RunConfig) -> BoxSettings:
    """The four settings of the draw, at first as the run has them."""
    own = method_data.method_settings(config)
    columns = st.columns(4, gap="medium", vertical_alignment="bottom")
    loss_boxes = own.num_boxes if own.num_loss_boxes is None else own.num_loss_boxes
    with columns[0]:
        count = slider("Boxes N", "boxes", 0, 64, own.num_boxes, 1, "How many boxes of picture b are pasted over a.")
    with columns[1]:
        loss = slider(
            "Loss boxes N_box", "loss_boxes", 0, 64, loss_boxes, 1, "The last pasted: they alone have a loss."
        )
    with columns[2]:
        area = slider("Total area", "area", 0.0, 1.0, own.total_area, 0.05, "Share of the picture that the boxes take.")
    with columns[3]:
        mode = st.segmented_control(
            "Area means",
            ["union", "sum"],
            default=own.area_mode,
            required=True,
            key="area_mode",
            bind="query-params",
            format_func={"union": "covered share", "sum": "sum of areas"}.get,
            help="Boxes overlap: 32 boxes whose areas add up to one half cover only about 38 % of the picture.",
        )
    return BoxSettings(count, min(loss, count), area, mode)


def pick_ranked_box(ranked: list[BoxReport]) -> int:
    """One of the boxes that show something, given from the heaviest on."""
    numbers = [box.number for box in ranked if box.visible]
    if st.session_state.get("box") not in numbers:
        st.session_state.pop("box", None)
    return st.selectbox(
        "Box",
        numbers,
        key="box",
        bind="query-params",
        help="Or click one in the picture. The box that adds most to the loss comes first.",
    )


def take_pixel(probe: Probe, pick: Pick) -> None:
    """A pixel taken in the viewer: the box that shows it becomes the box, its place goes into the address."""
    number = int(probe.owner[pick.row, pick.column]) if probe.valid[pick.row, pick.column] else -1
    if number < 0 or not probe.report[number].in_loss:
        st.toast("No loss box shows this pixel. Click inside a box with a solid line.", icon=":material/touch_app:")
        return
    same_box = number == st.session_state.get("box")
    st.session_state["box"] = number
    st.query_params["second" if pick.second and same_box else "pixel"] = f"{pick.row}-{pick.column}"


def config_or_stop(run: str | None) -> RunConfig:
    """The run's settings; a run that cannot be read ends the page with its reason."""
    try:
        return method_data.config_of(run)
    except (UserError, OSError) as error:
        stop_with(error)


def stop_with(error: Exception) -> None:
    """Say what is wrong and end the page; names and paths are shown as text."""
    st.error("This cannot be shown:", icon=":material/error:")
    st.text(plain_name(error))
    st.stop()


def number(label: str, key: str, low: int, high: int, default: int, help: str) -> int:
    """A whole number that lives in the address."""
    default = min(default, high)
    forget_outside(key, low, high)
    given = st.number_input(
        label, low, high, default, 1, key=key, bind="query-params", help=help, width=130, persist_state="session"
    )
    return default if given is None else given


def slider(label: str, key: str, low, high, default, step, help: str):
    """A slider that lives in the address."""
    forget_outside(key, low, high)
    return st.slider(label, low, high, default, step, key=key, bind="query-params", help=help)


def forget_outside(key: str, low, high) -> None:
    """Let a widget begin anew whose kept value no longer fits, because its range became smaller."""
    kept = st.session_state.get(key)
    if kept is not None and not low <= kept <= high:
        del st.session_state[key]


def pixel_in_address(name: str, shown: np.ndarray) -> tuple[int, int] | None:
    """The pixel "row-column" under this name in the address, where `shown` bool [H, W] has it; else None."""
    found = PIXEL.fullmatch(st.query_params.get(name, ""))
    if not found:
        return None
    row, column = int(found[1]), int(found[2])
    inside = row < shown.shape[0] and column < shown.shape[1]
    return (row, column) if inside and shown[row, column] else None

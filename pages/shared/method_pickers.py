"""What the Method pages ask for: run, networks, pair, boxes. One selection for all of them, kept in the address."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import streamlit as st

from pages.shared import chosen_pictures, method_data, method_networks, store
from pages.shared.chosen_pictures import Chosen
from pages.shared.messages import stop_with
from pages.shared.method_data import BoxSettings, Place
from pages.shared.method_networks import OWN, Networks, Seen
from pages.shared.words import plain_name
from scl_core.config import RunConfig
from scl_core.errors import UserError
from scl_core.microscope.replay import UNTRAINED
from scl_core.probe import BoxReport

NO_RUN = "No run: drawn scenes"
FIRST_STEP, FIRST_PAIR = 2, 1
"""What is shown at first without a run: of the drawn scenes under seed 0 a pair without padding."""
ALL_PAIRS = "every pair"


@dataclass(frozen=True)
class Selection:
    """What all Method pages look at."""

    place: Place
    networks: Networks
    config: RunConfig


def pick_selection() -> Selection:
    """Run, networks, seed, step, pair and whose pictures; a mistake ends the page with what to do."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        run = pick_run()
        config = config_or_stop(run)
        checkpoint = pick_checkpoint(run)
        seed = number(
            "Seed", "seed", 0, 2**31 - 1, config.seed, "Draws order, augmentation, boxes: the run's own by default."
        )
        step = pick_step(run, Networks(checkpoint))
        last = config.train.batch_unlabeled - 1
        pair = number("Pair", "pair", 0, last, FIRST_PAIR, f"Which pair of the step's batch, 0 to {last}.")
        help = "The pair of the step's batch, or two pictures of your choice: of the run's lists, or your own files."
        pictures = choice("Pictures", ["data", "chosen"], "pictures", help, 110)
    own = pick_own_network() if checkpoint == OWN else None
    chosen = pick_pictures(run) if pictures == "chosen" else None
    return Selection(Place(run, seed, step, pair, chosen), Networks(checkpoint, own), config)


def pick_pictures(run: str | None) -> tuple[Chosen, Chosen]:
    """Two pictures chosen one by one; while one is missing the page ends with what to do."""
    try:
        chosen = chosen_pictures.pick(method_data.source_of(run))
    except (UserError, OSError) as error:
        stop_with(error)
    if chosen is None:
        st.info("Give two pictures. They stay on this machine, are resized whole, and keep their colours.")
        st.stop()
    return chosen


def pick_run() -> str | None:
    """A run, or None for drawn scenes."""
    names = [summary.name for summary in store.summaries() if summary.problem is None]
    wanted = st.query_params.get("run")
    if not wanted and st.session_state.get("run") in names:
        # set anew: a bound selectbox without a default forgets its kept value on a page whose address lacks it
        st.session_state["run"] = st.session_state["run"]
    if wanted and wanted not in names:
        st.warning("The run of this address is not in the runs folder; drawn scenes are shown instead.")
    run = st.selectbox(
        "Run",
        names,
        index=None,
        key="run",
        bind="query-params",
        format_func=plain_name,
        placeholder=NO_RUN,
        persist_state="session",
        width="stretch",
        help="Pictures, settings and networks of a run. Without one: drawn scenes, default settings, no training.",
    )
    store.look_at(run)
    return run


def pick_checkpoint(run: str | None) -> str:
    """A checkpoint of the run, its networks before the first step, or somebody's own network."""
    steps = [str(step) for step in store.run_folder(run).checkpoints()] if run else []
    options = [*(["last", "best", *steps] if steps else []), UNTRAINED, OWN]
    compared = str(method_networks.compared_checkpoint(run)) if steps else None
    help = (
        "A checkpoint, the weights before the first step, or a network of your own. At first the newest checkpoint "
        "after which the run wrote another step."
    )
    return choice("Networks", options, "checkpoint", help, 150, compared if compared in options else options[0])


def pick_step(run: str | None, networks: Networks) -> int:
    """The step that training took after these networks, until another is asked for; it follows the networks.

    What is wrong with the networks is told by the pages that ask them.
    """
    try:
        after = method_networks.step_of(run, networks)
    except (UserError, OSError):
        after = None
    default = FIRST_STEP if after is None else after + 1
    before = st.session_state.get("step_after")
    if before not in (None, default) and st.session_state.get("step") == before:
        st.session_state["step"] = default
    st.session_state["step_after"] = default
    help = "The training step whose batch is shown, counted from 1. At first the one that training took next."
    return number("Step", "step", 1, 10_000_000, default, help)


def pick_own_network() -> str:
    """The `module:callable` of a network made elsewhere. It is imported only after a click here, never from a link."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            "Your network", key="network", bind="query-params", placeholder="my_module:build", persist_state="session",
            help="A callable that takes the number of classes and returns a torch module; the module returns logits, "
            "an object with .logits, or a dict with 'logits' or 'out'. It is looked for where the app was started.",
        )  # fmt: skip
        opened = st.session_state.setdefault("opened_networks", set())
        if st.button("Open", key="open_network", disabled=":" not in name):
            opened.add(name)
    if name not in opened:
        st.info(
            "Name a callable as module:name and press Open: its code then runs here, as both student and teacher. "
            "A link alone never runs it."
        )
        st.stop()
    return name


def pick_boxes(own: BoxSettings, on_change: Callable[[], None]) -> BoxSettings:
    """The settings of the draw: the method's own, or with the toggle on by slider, at first as the method has them.

    `on_change` is called before the page runs again.
    """
    words = "What if the boxes were drawn otherwise?"
    if not st.toggle(words, key="what_if", bind="query-params", on_change=on_change):
        return own
    knob = partial(slider, on_change=on_change)
    columns = st.columns(4, gap="medium", vertical_alignment="bottom")
    with columns[0]:
        count = knob("Boxes N", "boxes", 0, 64, own.num_boxes, 1, "How many boxes of picture b are pasted over a.")
    with columns[1]:
        loss = knob(
            "Loss boxes N_box", "loss_boxes", 0, 64, own.num_loss_boxes, 1, "The last pasted: they alone have a loss."
        )
    with columns[2]:
        area = knob("Total area", "area", 0.0, 1.0, own.total_area, 0.01, "Share of the picture that the boxes take.")
    with columns[3]:
        mode = st.segmented_control(
            "Area means",
            ["union", "sum"],
            default=own.area_mode,
            required=True,
            key="area_mode",
            bind="query-params",
            on_change=on_change,
            format_func={"union": "covered share", "sum": "sum of areas"}.get,
            help="Boxes overlap: 32 boxes whose areas add up to one half cover only about 38 % of the picture.",
        )
    return BoxSettings(count, min(loss, count), area, mode, own.max_pairs, own.box_reduction)


def pick_ranked_box(ranked: list[BoxReport], on_change=None) -> int:
    """One of the boxes that show something, given from the heaviest on; `on_change` is called before the page runs."""
    numbers = [box.number for box in ranked if box.visible]
    if st.session_state.get("box") not in numbers:
        st.session_state.pop("box", None)
    return st.selectbox(
        "Box",
        numbers,
        key="box",
        bind="query-params",
        persist_state="session",
        on_change=on_change,
        help="Or click one in the picture. The box that adds most to the loss comes first.",
    )


def pick_max_pairs(own: int | None) -> int:
    """How many pairs are drawn in each box."""
    options = sorted({10, 30, 100, 300, 500, 1000, 2000, 5000, 9000} | ({own} if own else set()))
    if st.session_state.get("n_pair") not in options:
        st.session_state.pop("n_pair", None)
    return st.select_slider(
        "Pairs drawn in each box, N_pair", options, own or 500, key="n_pair", bind="query-params",
        help="Eq. 9; the paper draws 9,000. A box that has fewer pairs keeps all of them.",
    )  # fmt: skip


def config_or_stop(run: str | None) -> RunConfig:
    """The run's settings; a run that cannot be read ends the page with its reason."""
    try:
        return method_data.config_of(run)
    except (UserError, OSError) as error:
        stop_with(error)


def probe_or_stop(selection: Selection, settings: BoxSettings | None = None):
    """The pair taken apart; what cannot be read or does not fit ends the page with its reason."""
    try:
        return method_networks.probe(selection.place, selection.networks, settings)
    except (UserError, OSError) as error:
        stop_with(error)


def seen_or_stop(selection: Selection) -> Seen:
    """The pair and its loss taken apart; what cannot be read or does not fit ends the page with its reason."""
    try:
        return method_networks.seen(selection.place, selection.networks)
    except (UserError, OSError) as error:
        stop_with(error)


def number(label: str, key: str, low: int, high: int, default: int, help: str) -> int:
    """A whole number that lives in the address."""
    default = min(default, high)
    forget_outside(key, low, high)
    given = st.number_input(
        label, low, high, default, 1, key=key, bind="query-params", help=help, width=120, persist_state="session"
    )
    return default if given is None else given


def choice(label: str, options: list[str], key: str, help: str, width: int, default: str | None = None) -> str:
    """One of a few words that lives in the address; a kept word that is no option any more is forgotten."""
    if st.session_state.get(key, options[0]) not in options:
        del st.session_state[key]
    index = options.index(default) if default else 0
    return st.selectbox(
        label, options, index, key=key, bind="query-params", help=help, width=width, persist_state="session"
    )


def slider(label: str, key: str, low, high, default, step, help: str, on_change=None):
    """A slider that lives in the address."""
    forget_outside(key, low, high)
    return st.slider(label, low, high, default, step, key=key, bind="query-params", help=help, on_change=on_change)


def follow(key: str, high) -> None:
    """Let a slider that stood at its end stay there when its range changes."""
    before = st.session_state.get(f"end_of_{key}")
    if before not in (None, high) and st.session_state.get(key) == before:
        st.session_state[key] = high
    st.session_state[f"end_of_{key}"] = high


def forget_outside(key: str, low, high) -> None:
    """Let a widget begin anew whose kept value no longer fits, because its range became smaller."""
    kept = st.session_state.get(key)
    if kept is not None and not low <= kept <= high:
        del st.session_state[key]

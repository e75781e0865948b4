"""What the Images pages ask for: one or two networks, a list, a picture. The answers live in the address."""

import numpy as np
import streamlit as st

from pages.shared import chosen_pictures, store
from pages.shared import prediction_data as data
from pages.shared.chosen_pictures import Chosen
from pages.shared.messages import offer_launch
from pages.shared.prediction_data import Side
from pages.shared.words import plain_name
from scl_core import comparison
from scl_core.errors import UserError

WORST, DIFFERENT, CELL, LISTED = "worst first", "largest difference first", "most of a confusion", "as listed"


def runs_with_checkpoints() -> list[str]:
    """The runs whose networks can be loaded; without any, ends the page with what to do."""
    names = [
        item.name for item in store.summaries() if item.problem is None and store.run_folder(item.name).checkpoints()
    ]
    if not names:
        offer_launch("There is no checkpoint yet. A run writes its first one after some hundred steps.")
    return names


def pick_side(names: list[str], side: str = "a", optional: bool = False, alone: bool = False) -> Side | None:
    """Run, checkpoint and network of one side, "a" or "b"; None where an optional one is left empty.

    `alone` leaves the letters out, where there is but one side.
    """
    letter = "" if alone else f" {side.upper()}"
    wanted = st.query_params.get(f"run_{side}")
    if wanted and wanted not in names:
        st.warning(f"Run{letter} of this address has no checkpoint here; choose another.")
    columns = st.columns([4, 2, 2])
    if side == "a" and not wanted and "run_a" not in st.session_state and store.looked_at(names):
        st.session_state["run_a"] = store.looked_at(names)  # as a default it would be missing in the address
    run = columns[0].selectbox(
        f"Run{letter}", names, index=None if optional else 0, key=f"run_{side}", bind="query-params",
        format_func=plain_name, placeholder="None: look at A alone",
    )  # fmt: skip
    if run is None:
        return None
    if side == "a":
        store.look_at(run)
    steps = [str(step) for step in store.run_folder(run).checkpoints()][::-1]
    gone = st.query_params.get(f"checkpoint_{side}")
    if gone and gone not in steps:
        st.warning(f"Checkpoint {plain_name(gone)} of run{letter} is no longer on disk; step {steps[0]} is shown.")
    step = columns[1].selectbox(f"Checkpoint{letter}", steps, key=f"checkpoint_{side}", bind="query-params")
    networks = list(data.restored(run, int(step)).method.evaluated)
    network = columns[2].selectbox(f"Network{letter}", networks, key=f"network_{side}", bind="query-params")
    return Side(run, int(step), network)


def pick_split(run: str, need_masks: bool = False) -> str:
    """A list of the run's data."""
    lists = data.source_of(run).lists
    splits = [name for name in data.SPLITS if name in lists and (lists[name].has_masks or not need_masks)]
    return st.selectbox("List", splits, key="split", bind="query-params", width=130)


def pick_picture(sides: list[Side], split: str) -> int:
    """One picture of the list, in the order that the reader chose."""
    names = data.source_of(sides[0].run).pictures(split).names
    order, marks = ordered(sides, split, names)
    shown = [names[index] for index in order]
    if st.session_state.get("picture") not in (None, *shown):
        del st.session_state["picture"]
    name = st.selectbox(f"Picture, of {len(order)}", shown, key="picture", bind="query-params", width=300)
    place = shown.index(name)
    for label, step, icon, shortcut in (("Previous", -1, "arrow_back", "P"), ("Next", 1, "arrow_forward", "N")):
        there = 0 <= place + step < len(shown)
        st.button(
            label, icon=f":material/{icon}:", disabled=not there, shortcut=shortcut, key=label.lower(),
            on_click=go_to, args=(shown[place + step] if there else name,),
        )  # fmt: skip
    index = names.index(name)
    st.text(marks.get(index, ""))
    return index


def go_to(picture: str) -> None:
    st.session_state["picture"] = picture


def ordered(sides: list[Side], split: str, names: tuple[str, ...]) -> tuple[list[int], dict[int, str]]:
    """The pictures in the chosen order, and what is said beside each; as listed where no scores are stored."""
    cell = cell_in_address()
    possible = [WORST, *([DIFFERENT] if len(sides) > 1 else []), *([CELL] if cell else []), LISTED]
    choice = st.selectbox(
        "Order", possible, index=possible.index(CELL) if cell else 0, key="order", bind="query-params", width=230
    )
    if choice == LISTED:
        return list(range(len(names))), {}
    try:
        found = [data.matrices_of(side, split) for side in (sides if choice == DIFFERENT else sides[:1])]
        if any(item.names != tuple(names) for item in found):
            raise UserError(f"the stored scores are of another {split} list")
        return by_scores(found, choice, cell)
    except (UserError, OSError) as error:
        st.caption(plain_name(f"As listed: {error}. The Compare page evaluates it."))
        return list(range(len(names))), {}


def by_scores(found, choice: str, cell: tuple[str, str] | None) -> tuple[list[int], dict[int, str]]:
    """Order and remarks by the stored matrices."""
    if choice == CELL:
        classes = (*found[0].classes, "void")
        if any(name not in classes for name in cell):
            raise UserError("this run has no class of the address's names")
        order, counts = comparison.pictures_with(found[0].whole, *map(classes.index, cell))
        if not len(order):
            raise UserError(f"no picture holds {cell[0]} taken for {cell[1]}")
        return order.tolist(), {int(i): f"{count:,} pixels" for i, count in zip(order, counts, strict=True)}
    scores = [comparison.picture_scores(item.whole) for item in found]
    values = scores[0] if choice == WORST else scores[1] - scores[0]
    order = comparison.worst_first(values if choice == WORST else -np.abs(values))
    form = "mIoU {:.1f} %" if choice == WORST else "mIoU {:+.1f} points"
    return order.tolist(), {index: form.format(100 * value) for index, value in enumerate(values) if np.isfinite(value)}


def cell_in_address() -> tuple[str, str] | None:
    """The confusion that the address names: (label's class, predicted class)."""
    truth, predicted = (st.query_params.get(name) for name in ("truth", "predicted"))
    return (truth, predicted) if truth and predicted else None


def microscope_link(side: Side, picture: Chosen, label: str = "Under the microscope") -> None:
    """The way to the structured loss of this checkpoint on this picture, box by box."""
    st.page_link(
        "pages/method/similarity.py",
        label=label,
        icon=":material/grid_on:",
        help="The page Similarity with this picture, mixed with another unlabeled one.",
        query_params={
            "run": side.run,
            "checkpoint": str(side.step),
            **chosen_pictures.address(data.source_of(side.run), picture),
        },
    )

"""The method in ten steps for someone who has never seen it, each on a real picture with real numbers."""

import streamlit as st

from pages.shared import lesson_views as views
from pages.shared.messages import stop_with
from pages.shared.words import term
from scl_core.errors import UserError
from scl_core.microscope.lesson import Lesson, open_lesson

NUMBERS = list(range(1, len(views.STEPS) + 1))
PAIRS = 4


@st.cache_resource(max_entries=PAIRS, show_spinner="Opening the pictures …")
def lesson(pair: int) -> Lesson:
    return open_lesson(pair)


def go(change: int) -> None:
    """To the next step or back."""
    st.session_state["lesson"] = min(max(st.session_state["lesson"] + change, NUMBERS[0]), NUMBERS[-1])


def show_way(number: int, place: str) -> None:
    """Back and next, above and below a step."""
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        back, forth = NUMBERS[0], NUMBERS[-1]
        st.button(
            "Back", icon=":material/arrow_back:", key=f"back_{place}", on_click=go, args=(-1,), disabled=number == back
        )
        st.button(
            "Next", icon=":material/arrow_forward:", key=f"next_{place}", on_click=go, args=(1,),
            disabled=number == forth, type="primary",
        )  # fmt: skip


st.title("Lesson")
with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
    number = st.segmented_control(
        "Step", NUMBERS, default=1, required=True, key="lesson", bind="query-params", help="Ten steps of a minute each."
    )
    pair = st.segmented_control(
        "Pictures", list(range(1, PAIRS + 1)), default=1, required=True, key="lesson_pair", bind="query-params",
        help="Four other examples of the same step of training.",
    )  # fmt: skip
try:
    found = lesson(pair - 1)
except (UserError, OSError) as error:
    stop_with(error)
if not found.trained_steps:
    st.info("The recorded demo is not here, so these networks are untrained: pictures and formulas hold all the same.")
title, show = views.STEPS[number - 1]
st.subheader(f"{number}. {title}")
show(found)
show_way(number, "below")
after = f"after {found.trained_steps} training steps" if found.trained_steps else "untrained"
st.caption(
    f"Pictures and numbers are real: drawn scenes, the networks of the app's demo {after}, in eval mode. They come "
    f"from the functions that training calls. Words that are new: {term('glossary')}."
)

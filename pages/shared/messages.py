"""What a page says where it cannot go on: one sentence, names and paths letter by letter, and the next action."""

from typing import NoReturn

import streamlit as st

from pages.shared.words import plain_name

ERROR = ":material/error:"
FOLDER_OFF = ":material/folder_off:"
LAUNCH = "pages/runs/launch.py"


def say_problem(headline: str, reason: object, icon: str = ERROR, warning: bool = False) -> None:
    """What went wrong in our words, and below it the reason with its names and paths as plain text."""
    (st.warning if warning else st.error)(headline, icon=icon)
    st.code("\n".join(map(plain_name, str(reason).splitlines())), language=None, wrap_lines=True)


def say_why_not(error: object) -> None:
    """One plain sentence where something would have been shown."""
    sentence = plain_name(error)
    with st.container(horizontal=True, border=True):
        st.markdown(":material/info:", width="content")
        st.text(sentence[:1].upper() + sentence[1:] + ("" if sentence.endswith(".") else "."))


def stop_with(error: object) -> NoReturn:
    """Say what is wrong and end the page."""
    say_problem("This cannot be shown:", error)
    st.stop()


def offer_launch(sentence: str) -> NoReturn:
    """Say what a page still lacks, offer the way to a first run, and end the page."""
    st.info(sentence)
    if st.button("Launch a run", icon=":material/rocket_launch:"):
        st.switch_page(LAUNCH)
    st.stop()

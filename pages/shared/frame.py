"""What surrounds every page."""

import gc
import sys
from threading import Lock

import streamlit as st

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LOCK = Lock()
set_aside = 0
"""How many modules there were when `set_imports_aside` last took them out of the garbage collector's sight."""


def use_the_width() -> None:
    """Narrow margins for tables and figures, lines of text no longer than the eye follows.

    Streamlit's wide layout leaves a third of a laptop's width blank, and lets text run over a whole large screen.
    """
    st.html("""<style>
[data-testid="stMainBlockContainer"] { padding: 4rem clamp(1rem, 3vw, 2.5rem); max-width: 116rem; }
[data-testid="stMain"] [data-testid="stMarkdownContainer"] :is(p, li) { max-width: 58rem; }
</style>""")


def warn_unless_loopback() -> None:
    """Say so when other machines can reach this server: whoever reaches the app can start processes here."""
    if st.get_option("server.address") not in LOOPBACK:
        st.warning(
            "This server answers to other machines too, and whoever reaches this page can start processes on this one. "
            "Restart it with `--server.address 127.0.0.1`.",
            icon=":material/lock_open:",
        )


def set_imports_aside() -> None:
    """After new imports, take all that there is out of the garbage collector's sight, for imports are there to stay.

    Streamlit collects after every run of a script, and going through all of torch and plotly for a click takes longer
    than answering it.
    """
    global set_aside
    with LOCK:
        if len(sys.modules) > set_aside:
            set_aside = len(sys.modules)
            gc.collect()
            gc.freeze()

"""What surrounds every page."""

import streamlit as st

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def warn_unless_loopback() -> None:
    """Say so when other machines can reach this server: whoever reaches the app can start processes here."""
    if st.get_option("server.address") not in LOOPBACK:
        st.warning(
            "This server answers to other machines too, and whoever reaches this page can start processes on this one. "
            "Restart it with `--server.address 127.0.0.1`.",
            icon=":material/lock_open:",
        )

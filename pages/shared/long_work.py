"""Long work in the page itself: a bar with the time left, and a button that ends it and leaves the rest of the page.

A click on any widget interrupts the script at its next word to the page, so work that tells its progress can be ended.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import streamlit as st

from pages.shared.words import duration
from scl_core.progress import Tell

TELL_SECONDS = 0.25
FIRST_ETA_SECONDS = 1.0


def run(name: str, key: Hashable, words: str, work: Callable[[Tell], Any], most: int = 16) -> Any:
    """What `work` gives for this key, done once for all sessions; None where the visitor cancelled it.

    `words` say what is done. The newest `most` results of a name are kept. A cancelled one stands there as a button
    that begins it again; another key begins by itself.
    """
    kept = _kept(name)
    if key in kept:
        return kept[key]
    if is_cancelled(name, key, words):
        return None
    with watched(name, key, words) as tell:
        kept[key] = work(tell)
    while len(kept) > most:
        kept.popitem(last=False)
    return kept[key]


def each(name: str, key: Hashable, words: str, items: Sequence, work: Callable[[Any], Any]) -> list | None:
    """`run` for a list of items; their results, or None where the visitor cancelled it."""

    def one_by_one(tell: Tell) -> list:
        found = []
        for item in items:
            found.append(work(item))
            tell(len(found), len(items))
        return found

    return run(name, key, words, one_by_one)


@contextmanager
def watched(name: str, key: Hashable, words: str) -> Iterator[Tell]:
    """A bar and a button to cancel while inside, and how to move the bar."""
    place, started, last = st.empty(), time.monotonic(), 0.0
    with place.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, text=f"{words} …")
        st.button("Cancel", key=f"cancel_{name}", icon=":material/close:", on_click=_cancel, args=(name, key))

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= TELL_SECONDS:
            last = now
            bar.progress(
                min(done / total, 1.0), text=f"{words}: {done:,} of {total:,}{left(now - started, done, total)}"
            )

    try:
        yield tell
    except Exception:
        place.empty()
        raise
    place.empty()


def left(seconds: float, done: int, total: int) -> str:
    """How long the rest takes at the mean speed so far, once there is one."""
    if seconds < FIRST_ETA_SECONDS or not done:
        return ""
    return f", about {duration(seconds / done * (total - done))} left"


def is_cancelled(name: str, key: Hashable, words: str) -> bool:
    """Whether the visitor cancelled this very work; then it is said, with a button that begins it again."""
    if key not in _cancelled().get(name, ()):
        return False
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.text(f"{words}: cancelled.")
        st.button("Start again", key=f"again_{name}", icon=":material/replay:", on_click=_forget, args=(name,))
    return True


def _cancel(name: str, key: Hashable) -> None:
    _cancelled().setdefault(name, set()).add(key)


def _forget(name: str) -> None:
    _cancelled().pop(name, None)


def _cancelled() -> dict[str, set]:
    return st.session_state.setdefault("cancelled_work", {})


@st.cache_resource(show_spinner=False)
def _kept(name: str) -> OrderedDict:
    """The results under a name, the oldest first; those that a cached function may not have, for it may draw no bar."""
    return OrderedDict()

"""Every word with the equation beside it, and the function or setting behind it."""

import streamlit as st

from pages.shared.glossary_terms import TERMS, Term


def show(entry: Term) -> None:
    """One word: what it means on the left, its equation and where to find it on the right."""
    with st.container(border=True):
        left, right = st.columns([5, 4], gap="large")
        with left:
            st.markdown(f"**{entry.name}**")
            st.write(entry.meaning)
            if entry.page:
                st.markdown(f"[See it](/{entry.page})")
        with right:
            if entry.equation:
                st.latex(entry.equation)
            if entry.functions:
                st.caption("Computed by " + ", ".join(f"`{name}`" for name in entry.functions))
            if entry.settings:
                st.caption("Set by " + ", ".join(f"`{name}`" for name in entry.settings))


st.title("Glossary")
words = st.text_input(
    "Search", key="term", bind="query-params", placeholder="teacher, eq. 8, method.num_boxes, …",
    help="All words must occur, in a name, a meaning, a function or a setting.",
)  # fmt: skip
found = [entry for entry in TERMS if entry.matches(words or "")]
if words and not found:
    st.info("No entry has all of these words. Search for fewer of them, or empty the field to see every entry.")
st.caption(f"{len(found)} of {len(TERMS)} entries. Equation numbers are those of Kim, Jang, Park 2020.")
for entry in sorted(found, key=lambda entry: (not entry.name.startswith((words or "").lower()), entry.name.lower())):
    show(entry)

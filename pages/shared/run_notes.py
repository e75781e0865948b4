"""Tags and note of a run, and the archive: what a person does to a run that training does not know of."""

import streamlit as st

from pages.shared import store
from pages.shared.messages import say_problem
from pages.shared.words import plain_name
from scl_core.errors import UserError
from scl_core.runs import Notes, RunSummary, archive, archived, bring_back, write_notes


def show(summary: RunSummary | None) -> None:
    """The form of tags and note, and below it the way to the archive; nothing for a run that has just gone."""
    if summary is None:
        return
    known = sorted({tag for run in store.summaries() for tag in run.notes.tags})
    with st.form(f"notes-{summary.name}", border=False):
        tags = st.multiselect(
            "Tags",
            known,
            default=summary.notes.tags,
            accept_new_options=True,
            max_selections=20,
            placeholder="none yet",
        )
        note = st.text_area("Note", summary.notes.note, max_chars=4000, placeholder="What this run is about")
        if st.form_submit_button("Save", icon=":material/save:"):
            save(summary, Notes(tuple(tags), note))
    run, problem = st.session_state.get("notes_error", ("", ""))
    if run == summary.name:
        say_problem("The notes were not saved:", problem)
    with st.popover("Archive this run", icon=":material/archive:", disabled=summary.status.active):
        confirm(summary.name)


def save(summary: RunSummary, notes: Notes) -> None:
    """Write the notes; what goes wrong is kept for the page to show until they are saved."""
    st.session_state.pop("notes_error", None)
    try:
        write_notes(summary.path, notes)
    except UserError as error:
        st.session_state["notes_error"] = (summary.name, str(error))
        return
    store.forget_summaries()
    st.rerun()


def confirm(name: str) -> None:
    """Ask for the name, so that no click archives another run than was meant."""
    st.write("The folder moves to `.archive` beside the runs, whole; it can be brought back. Its name:")
    st.code(plain_name(name), language=None)
    typed = st.text_input("Type the name of the run to archive it", key=f"archive-{name}")
    unlike = typed.strip() != name
    st.button("Archive", type="primary", key="archive_now", disabled=unlike, on_click=put_away, args=(name,))


def put_away(name: str) -> None:
    """Move the run with this name to the archive; the page then offers to undo it."""
    try:
        there = archive(store.run_folder(name).path)
        st.session_state["archive_word"] = (name, there, None)
        st.session_state["run"] = None
    except UserError as error:
        st.session_state["archive_word"] = (name, "", str(error))
    store.forget_summaries()


def restore(name: str) -> None:
    """Bring an archived run back."""
    try:
        bring_back(store.runs_root(), name)
        st.session_state.pop("archive_word", None)
    except UserError as error:
        st.session_state["archive_word"] = (name, "", str(error))
    store.forget_summaries()


def show_last_action() -> None:
    """What became of the last run that was to be archived, with its undo."""
    name, there, problem = st.session_state.get("archive_word", (None, None, None))
    if problem:
        say_problem("The run was not moved:", problem)
    elif name is not None:
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            st.text(f"{plain_name(name)} " + ("lies in the archive." if there else "was forgotten: it had no folder."))
            if there:
                st.button("Undo", icon=":material/undo:", on_click=restore, args=(there,), key="undo_archive")


def show_archive() -> None:
    """The archived runs, each with the way back."""
    names = archived(store.runs_root())
    if not names:
        return
    with st.expander(f"Archive ({len(names)})", icon=":material/archive:"):
        name = st.selectbox("Archived run", names, format_func=plain_name, key="archived_run")
        st.button("Bring back", icon=":material/unarchive:", on_click=restore, args=(name,), key="bring_back")

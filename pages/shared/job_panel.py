"""Long work that a page starts in a process of its own: the button, the progress, cancelling, and how it ended."""

import streamlit as st

from pages.shared import store
from pages.shared.messages import say_problem
from pages.shared.words import plain_name
from scl_core import jobs
from scl_core.errors import UserError
from scl_core.runs import RunFolder

POLL_SECONDS = 1.0


def job_button(run: RunFolder, kind: str, label: str, command: list[str], key: str) -> None:
    """Start `command`, unless one of its kind is at work for this run: then show how far it is."""
    job = jobs.read_job(run, kind)
    if job is None:
        if st.button(label, key=f"start-{key}", icon=":material/calculate:"):
            begin(run, kind, command)
        return
    if job.running:
        watch(run.path.name, kind, key)
    else:
        finish(run, kind, job, key)


def begin(run: RunFolder, kind: str, command: list[str]) -> None:
    try:
        jobs.start_job(run, kind, command)
    except UserError as error:
        say_problem("This cannot be started:", error)
        return
    st.rerun()


@st.fragment(run_every=POLL_SECONDS)
def watch(name: str, kind: str, key: str) -> None:
    """The progress of a job, looked at every second; the page runs again when it ends."""
    run = store.run_folder(name)
    job = jobs.read_job(run, kind)
    if job is None or not job.running:
        st.rerun()
    count = f"{job.done} of {job.total}" if job.total else "starting …"
    st.progress(job.share, text=f"{plain_name(name)}, {kind}: {count}")
    if st.button("Cancel", key=f"cancel-{key}", icon=":material/close:"):
        jobs.cancel_job(run, kind)
        st.rerun()


def finish(run: RunFolder, kind: str, job: jobs.Job, key: str) -> None:
    """Take what a job has written; say why one has written nothing."""
    if job.problem is None:
        jobs.forget_job(run, kind)
        store.forget_summaries()
        st.toast(f"{kind}: done", icon=":material/check:")
        st.rerun()
    say_problem("This ended without a result:", job.problem)
    if st.button("Put away", key=f"forget-{key}"):
        jobs.forget_job(run, kind)
        st.rerun()

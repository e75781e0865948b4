"""One run, five checks: what is measured, what it means and what to do, for a reader who suspects nothing."""

from functools import partial

import streamlit as st

from pages.shared import health_views as views
from pages.shared import long_work, store
from pages.shared.messages import offer_launch, stop_with
from pages.shared.words import plain_name, term
from scl_core.errors import UserError
from scl_core.microscope.health import LOOK, UNKNOWN, Health, examine
from scl_core.microscope.health.overlap import MOST
from scl_core.runs import RunFolder

EVERY = 1_000_000


def examined(run: RunFolder, most: int) -> Health:
    """The checks, with `most` pictures of each list compared; with none where the visitor cancelled that."""
    changed = (tuple(run.checkpoints()), len(run.evaluations()), (run.path / "config.yaml").stat().st_mtime_ns)
    for name, pictures, words in (("health", most, "Comparing pictures"), ("health_rest", 0, "Examining the run")):
        key = (str(run.path), pictures, changed)
        found = long_work.run(name, key, words, partial(examine, run.path, pictures), most=4)
        if found is not None:
            return found
    st.stop()


def pick_run() -> str:
    """A run, part of the address; without any, the page ends with what to do."""
    names = [run.name for run in store.summaries() if run.problem is None]
    if not names:
        offer_launch("There is no run to examine yet.")
    wanted = st.query_params.get("run")
    if wanted and wanted not in names:
        st.warning("The run of this address is not in the runs folder; another one is shown.")
    if "run" not in st.session_state and not wanted and store.looked_at(names):
        st.session_state["run"] = store.looked_at(names)
    if st.session_state.get("run") in names:
        st.session_state["run"] = st.session_state["run"]  # a bound widget forgets a value that the address lacks
    elif "run" in st.session_state:
        del st.session_state["run"]
    return st.selectbox("Run", names, key="run", bind="query-params", format_func=plain_name, persist_state="session")


def show_summary(found: Health) -> None:
    """The five verdicts side by side, and in a line each the faults that ask for a look."""
    for column, finding in zip(st.columns(len(found.findings)), found.findings, strict=True):
        with column.container(border=True):
            st.markdown(f"**{finding.check}**  \n{views.SIGNS[finding.verdict]}")
    asking = [finding for finding in found.findings if finding.verdict == LOOK]
    if asking:
        faults = [f"[{finding.check}](#{views.anchor(finding)}): {finding.fault}." for finding in asking]
        st.warning("  \n".join(faults), icon=":material/stethoscope:")
    else:
        unsaid = [finding.check for finding in found.findings if finding.verdict == UNKNOWN]
        rest = f" {', '.join(unsaid)}: cannot say." if unsaid else ""
        st.success(f"No check asks for a look.{rest}", icon=":material/check:")


st.title("Health")
gradients = term("gradient of a term", "gradients")
st.write(
    f"Five faults that no loss curve shows. Each check measures the run itself: its {gradients}, its "
    f"{term('teacher')}, its {term('confidence')}, its lists and its boxes."
)
with st.container(horizontal=True, vertical_alignment="bottom"):
    name = pick_run()
    every = st.toggle(
        "Compare every picture", key="every_picture", bind="query-params",
        help="Else the first 200 of each list. Reading large pictures takes about a minute for a thousand.",
    )  # fmt: skip
try:
    run = store.run_folder(name)
    health = examined(run, EVERY if every else MOST)
    evaluations, records = run.evaluations(), store.metrics(run)
except (UserError, OSError) as error:
    stop_with(error)
show_summary(health)
for finding, show in zip(health.findings, views.PICTURES, strict=True):
    views.show(finding, show, health, records, evaluations)

"""One run in full: state, progress, curves, log and settings, read anew every two seconds while it runs."""

import time

import pandas as pd
import streamlit as st
import yaml
from streamlit.delta_generator import DeltaGenerator

from pages.shared import run_notes, store
from pages.shared.messages import FOLDER_OFF, say_problem
from pages.shared.run_actions import show_action_error, show_actions
from pages.shared.words import STATE_MEANINGS, duration, percent, plain_name, state_label
from scl_core.errors import UserError
from scl_core.figures import curves
from scl_core.runs import RunFolder, RunStatus, RunSummary, standing_alarms

REFRESH_SECONDS = 2
LOG_LINES = 200
LAST_LINES = 8
ALARMS = {
    "failed": "The run failed.",
    "lost": "The run ended without a word.",
    "stalled": "The run shows no sign of work.",
}


def show(summary: RunSummary, live_place: DeltaGenerator) -> None:
    """The panel of one run, and what in its folder cannot be read.

    The switch between live and paused is put into `live_place`: it must stand outside the part that it reruns.
    """
    if summary.problem:
        say_problem("Something in this folder cannot be read:", summary.problem, FOLDER_OFF, warning=True)
    active = summary.status.active
    live = active and live_place.toggle(
        "Live", value=True, key="live", help="New points reset a zoom: pause to look closer."
    )
    st.fragment(show_panel, run_every=REFRESH_SECONDS if live else None)(summary.name, active)


def show_panel(name: str, was_active: bool) -> None:
    """Everything about the run that changes while it runs."""
    try:
        run = store.run_folder(name)
        status, records, evaluations = run.status(), store.metrics(run), run.evaluations()
    except UserError as error:
        say_problem("This run cannot be shown:", error, FOLDER_OFF)
        return
    if was_active != status.active:
        store.forget_summaries()
        if was_active:
            st.session_state["ended"] = (name, status)
        st.rerun()
    if "ended" in st.session_state:
        say_ended(*st.session_state.pop("ended"))
    show_numbers(status, records, evaluations)
    show_state(run, status)
    if records.skipped + evaluations.skipped:
        st.caption(f"{records.skipped + evaluations.skipped} damaged lines of the records were left out.")
    show_actions(name, status, bool(run.checkpoints()), bool(evaluations))
    show_action_error(name)
    curve_tab, log_tab, settings_tab, notes_tab = st.tabs(["Curves", "Log", "Settings", "Notes"], key="run_tab")
    with curve_tab:
        show_curves(records, evaluations)
    with log_tab:
        show_log(run)
    with settings_tab:
        show_settings(run)
    with notes_tab:
        run_notes.show(next((item for item in store.summaries() if item.name == name), None))


def show_numbers(status: RunStatus, records: list[dict], evaluations: list[dict]) -> None:
    """State with its reason, speed, the newest and best mIoU of the network that counts, and progress."""
    network = evaluations[0]["network"] if evaluations else None
    scored = curves.by_network(evaluations, "val").get(network, [])
    scores = [record["mean_iou"] for record in scored if record["mean_iou"] is not None]
    seconds = seconds_per_step(records)
    counting = "On the validation list, of the network that counts"
    speed = f"{seconds:.2f} s" if seconds else "–"
    state, best, last, pace = st.columns([3, 2, 2, 2])
    state.metric("State", state_label(status.state), help=STATE_MEANINGS.get(status.state))
    best.metric("Best mIoU", percent(max(scores, default=None)), help=counting)
    last.metric("Last mIoU", percent(scores[-1] if scores else None), help=counting)
    pace.metric("Step time", speed, help="Median of the last 50 steps")
    step, steps = status.step or 0, status.steps
    if steps:
        left = f" · about {duration((steps - step) * seconds)} left" if seconds and status.active else ""
        st.progress(min(step / steps, 1.0), text=f"step {step} of {steps}{left}")


def show_state(run: RunFolder, status: RunStatus) -> None:
    """Why the run is in its state; of one that broke off also since when, and its last lines; then what it warns of."""
    if status.state in ALARMS:
        age = status.heartbeat_age
        since = "" if age is None else f" Its last sign of life was {duration(age)} ago, {clock(age)}."
        lines = [status.reason, run.log_tail(LAST_LINES), run.launch_log_tail(LAST_LINES)]
        say_problem(ALARMS[status.state] + since, "\n".join(filter(None, lines)) or "It left no word.")
    elif status.reason:
        st.text(status.reason)
    try:
        alarms = standing_alarms(run.alarms())
    except UserError:
        alarms = []
    for alarm in alarms:
        told = f"since step {alarm['step']}: {alarm['text']}"
        say_problem("An alarm holds:", told, ":material/notification_important:", warning=True)


def clock(seconds_ago: float) -> str:
    """The time of day so long ago, with the date where that was another day."""
    then = time.localtime(time.time() - seconds_ago)
    return time.strftime("%H:%M" if seconds_ago < 12 * 3600 else "%Y-%m-%d %H:%M", then)


def say_ended(name: str, status: RunStatus) -> None:
    """Tell once, on whatever the page shows next, that a run that was watched has ended."""
    st.toast(f"{plain_name(name)}: {state_label(status.state)} at step {status.step or 0}", icon=":material/flag:")


def seconds_per_step(records: list[dict], window: int = 50) -> float | None:
    """Median seconds of the last steps; None before the first."""
    recent = [record["seconds"] for record in records[-window:] if record.get("seconds")]
    return float(pd.Series(recent).median()) if recent else None


def show_curves(records: list[dict], evaluations: list[dict]) -> None:
    """Loss terms, mIoU of every network on the validation list, learning rate."""
    smoothing, scale = st.columns([1, 2], vertical_alignment="bottom", gap="large")
    weight = smoothing.slider("Smoothing", 0.0, 0.99, 0.6, key="smoothing", help="The raw curve stays visible behind.")
    log_scale = scale.toggle("Logarithmic loss axis", key="log_scale")
    losses = curves.loss_curves(records, smoothing=weight, log_scale=log_scale)
    st.plotly_chart(losses, key="losses", alt="Loss terms over the steps")
    scores, rates = st.columns([3, 2])
    networks = curves.by_network(evaluations, "val")
    scores.plotly_chart(curves.mean_iou_curves(networks), key="scores", alt="mIoU over the steps, by network")
    rates.plotly_chart(curves.learning_rate_curve(records), key="rates", alt="Learning rate over the steps")
    show_measured(records)


def show_measured(records: list[dict]) -> None:
    """Pull and direction of each term, and the variety of the targets, where training measured them."""
    kinds = {key.partition("/")[0] for record in records for key in record if "/" in key}
    figures = {}
    if "gradient" in kinds:
        figures["pulls"] = curves.gradient_curves(records), "Norm of each term's gradient over the steps"
        figures["directions"] = curves.cosine_curves(records), "Cosine of each term's gradient with the supervised one"
    if "targets" in kinds:
        figures["targets"] = curves.target_curves(records), "Variety of targets and labels over the steps"
    for place, (key, (figure, alt)) in zip(st.columns(max(len(figures), 1)), figures.items(), strict=False):
        place.plotly_chart(figure, key=key, alt=alt)


def show_log(run: RunFolder) -> None:
    """The end of the log, and of what the process wrote to its terminal where the app started it."""
    with st.container(height=440, autoscroll=True, key="log"):
        st.code(run.log_tail(LOG_LINES) or "The log is empty so far.", language=None)
    terminal = run.launch_log_tail(LOG_LINES)
    if terminal:
        st.caption("Terminal output of the process")
        st.code(terminal, language=None, height=240)


def show_settings(run: RunFolder) -> None:
    """What was run: the folder, the settings, the machine."""
    st.caption("Folder")
    st.code(str(run.path.resolve()), language=None)
    settings, machine = st.columns(2)
    for place, title, reader in ((settings, "Settings", run.config), (machine, "Environment", run.environment)):
        place.caption(title)
        try:
            text = yaml.safe_dump(reader(), sort_keys=False, allow_unicode=True)
        except UserError as error:
            text = str(error)
        place.code(text, language="yaml", wrap_lines=True)

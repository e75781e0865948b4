"""Which unlabeled pictures to label next: where teacher and student agree least, or the network is least decided."""

import streamlit as st

from pages.shared import image_pickers as pickers
from pages.shared import prediction_data as data
from pages.shared import store
from pages.shared.job_panel import job_button
from pages.shared.messages import stop_with
from pages.shared.prediction_data import Side
from pages.shared.words import plain_name
from scl_core.agreement import Ranking, list_text, read_ranking
from scl_core.errors import UserError
from scl_core.inference import overlay
from scl_core.jobs import job_command

MEASURES = {
    "disagreement": "how little two networks agree (mean distance of their probabilities)",
    "different": "share of pixels that they call differently",
    "entropy": "how undecided the network is (mean entropy)",
}
SHOWN = 12


def rank_button(side: Side, again: bool) -> None:
    """Rank the list in a process of its own."""
    run = store.run_folder(side.run)
    command = job_command("agreement", run.path, "--checkpoint", str(side.step))
    label = "Rank again" if again else "Rank the unlabeled pictures"
    job_button(run, "agreement", label, command, key=f"agreement-{side.run}")


def show_pictures(side: Side, ranking: Ranking, order: list[int], measure: str) -> None:
    """The first pictures, as they are and as the network sees them."""
    source = data.source_of(side.run)
    pictures = source.pictures(ranking.split)
    for start in range(0, len(order), 4):
        for column, index in zip(st.columns(4), order[start : start + 4], strict=False):
            picture = pictures.input(index)
            found = data.predict_listed(side, ranking.split, index)
            column.image(picture, width="stretch", alt=f"Picture {plain_name(ranking.names[index])}")
            if found.classes.shape == picture.shape[:2]:
                column.image(
                    overlay(picture, found.classes, source.palette, 0.65), width="stretch", alt="Its prediction"
                )
            with column:
                st.text(f"{plain_name(ranking.names[index])}  {getattr(ranking, measure)[index]:.3f}")
                pickers.microscope_link(side, (ranking.split, ranking.names[index]))


def show_ranking(side: Side, ranking: Ranking) -> None:
    """The measure, the pictures, the list to take away."""
    if ranking.names != list(data.source_of(side.run).pictures(ranking.split).names):
        st.warning("The unlabeled list has changed since this ranking was made: rank it again.")
        rank_button(side, again=True)
        return
    measures = [name for name in MEASURES if getattr(ranking, name) is not None]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        measure = st.selectbox("Order by", measures, key="measure", bind="query-params", width=180)
        count = st.number_input(
            "Pictures to label", 1, len(ranking.names), min(SHOWN, len(ranking.names)), key="count", width=150
        )
        order = ranking.by(measure)[:count]
        st.download_button(
            "Download the list", list_text(ranking, order), "next_to_label.txt", "text/plain",
            icon=":material/download:", on_click="ignore",
            help="One path a line. Draw the masks, write each behind its picture, and give the file as data.labeled.",
        )  # fmt: skip
        rank_button(side, again=True)
    st.caption(f"Largest first: {MEASURES[measure]}. Networks: {plain_name(' and '.join(ranking.networks))}.")
    if len(measures) == 1:
        st.info("This method has one network, so only its entropy can rank the pictures.")
    show_pictures(side, ranking, order[:SHOWN], measure)


st.title("Next to label")
st.write("The pictures from which the next masks would teach most: those on which the networks do not agree yet.")
try:
    side = pickers.pick_side(pickers.runs_with_checkpoints(), alone=True)
    if "unlabeled" not in data.source_of(side.run).lists:
        st.info("This run's data have no unlabeled list. Add pictures without masks, or pick another run.")
        st.stop()
    ranking = read_ranking(store.run_folder(side.run), side.step, "unlabeled")
    if ranking is None:
        st.info("This checkpoint has not ranked its unlabeled pictures yet.")
        rank_button(side, again=False)
    else:
        show_ranking(side, ranking)
except (UserError, OSError) as error:
    stop_with(error)

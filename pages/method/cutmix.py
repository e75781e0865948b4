"""CutMix taken apart: a real pair, its boxes in paste order, and what later boxes leave of the earlier ones.

Each part is a fragment with a name: a slider runs again what follows from it, and not the choice of run and networks.
"""

from dataclasses import asdict, replace

import streamlit as st

from pages.shared import method_data, method_networks, method_pickers, method_views
from pages.shared.messages import stop_with
from pages.shared.method_data import BoxSettings, Mix, Pair
from pages.shared.method_pickers import Selection
from pages.shared.method_views import show_chart, show_picture
from pages.shared.words import term
from scl_core.cutmix import shown_pixels
from scl_core.errors import UserError
from scl_core.figures import boxes as figures
from scl_core.figures import parts
from scl_core.figures.boxes import visible_picture
from scl_core.methods.parts import toggles
from scl_core.methods.step_boxes import mixes_pictures

DRAWN = "drawn_boxes"
FOLLOWING = ["settings", "pasting", "draws"]  # the parts that follow from how the boxes are drawn


def say_how_drawn(selection: Selection, own: BoxSettings, mixed: bool) -> None:
    """With which settings training drew the boxes of this pair."""
    method = selection.config.method.name
    if not mixes_pictures(selection.config.method):
        why = "lets boxes toggle" if toggles(selection.config.method) else "mixes no unlabeled pictures"
        st.info(f"The method {method} {why}; these are the boxes that scl draws by default.")
        return
    area = "covered share" if own.area_mode == "union" else "sum of areas"
    words = f"As {method} draws them at this step: {own.num_boxes} boxes, {area} {own.total_area:g}."
    st.caption(words if mixed else f"{words} **Training left this pair unmixed** at this step; this is its draw.")


def show_pair(pair: Pair, mix: Mix) -> None:
    """The two pictures and their mix."""
    columns = st.columns(3)
    for column, name, image in zip(columns, ("a", "b"), pair.pictures, strict=False):
        with column:
            st.markdown(f"**Picture {name}**, whole for the teacher")
            show_picture(image, f"Picture {name}")
    with columns[2]:
        st.markdown("**The mix**, colours changed, for the student")
        show_picture(mix.picture, "The mixed picture")


def show_numbers(mix: Mix, asked: float) -> None:
    """What the draw became: the covered share, hidden boxes, and the pairs that are left to compare."""
    in_loss = [box for box in mix.report if box.in_loss]
    pairs, every = sum(box.pairs for box in in_loss), mix.owner.size**2
    hidden = sum(box.visible == 0 for box in mix.report)
    columns = st.columns(4)
    columns[0].metric("Covered by boxes", f"{(mix.owner >= 0).mean():.1%}", help=f"Asked for: {asked:.0%}, on average.")
    columns[1].metric("Boxes that show nothing", f"{hidden} of {len(mix.report)}")
    columns[2].metric("Pixels that loss boxes show", f"{sum(box.visible for box in in_loss):,}")
    columns[3].metric(
        "Share of all pixel pairs", f"{pairs / every:.2%}", help=f"{pairs:,} of the {every:,} pairs of eq. 6."
    )


def half_page(height: int, width: int) -> int:
    """How high a picture of this size is in half a page on a laptop, 60 to 360: no blank room stays below it."""
    return min(360, max(60, 470 * height // width))


def show_boxes(mix: Mix, total: int, number: int) -> None:
    """All boxes: as they were pasted, and as they show."""
    records = [asdict(box) for box in mix.report]
    left, right = st.columns(2)
    with left:
        st.markdown("**Pasted**, dark first and bright last; a dashed box has no structured loss")
        figure = figures.box_figure(mix.picture, mix.owner, records, number, total)
        show_chart(figure, "boxes", "The boxes", half_page(*mix.owner.shape))
    with right:
        st.markdown("**Shown**: the owner map, which box each pixel belongs to")
        figure = figures.owner_figure(mix.picture, mix.owner, records, None, total)
        show_chart(figure, "owner", "The owner map", half_page(*mix.owner.shape))


def show_one_box(mix: Mix, total: int, number: int) -> None:
    """What later boxes cover of box `number`, and what it still shows."""
    record = asdict(mix.report[number])
    left, right = st.columns(2)
    with left:
        st.markdown("**Covered**: hatched pixels belong to the later box of that number")
        show_chart(
            figures.occlusion_figure(mix.picture, mix.shown, record, total),
            "occlusion",
            f"Occlusion of box {number}",
            half_page(record["height"], record["width"]),
        )
    with right:
        st.markdown("**Compared**: the pixels of T of eq. 8, each with each")
        show_picture(visible_picture(mix.picture, mix.shown, number), f"Pixels of box {number}")


def with_losses(mix: Mix, selection: Selection, settings: BoxSettings, whole: bool) -> Mix:
    """The same mix with each box's loss, once all boxes are pasted; untouched when the networks cannot be read."""
    if not whole:
        return mix
    try:
        probe = method_networks.probe(selection.place, selection.networks, settings)
    except (UserError, OSError) as error:
        st.caption(f"Without losses: {error}")
        return mix
    method_views.say_which_form(selection, probe)
    return replace(mix, report=probe.report)


@st.fragment(key="settings")
def pick_settings() -> None:
    """How the boxes are drawn, kept for the parts below."""
    st.session_state[DRAWN] = method_pickers.pick_boxes(own, on_change=lambda: st.rerun(FOLLOWING))


@st.fragment(key="pasting")
def show_pasting() -> None:
    """The boxes pasted one after another, and one of them close up."""
    pair = draw_or_stop()
    total = len(pair.boxes)
    if total == 0:
        st.info("There are no boxes: the student sees picture a alone. Move the slider “Boxes” to the right.")
        return
    method_pickers.follow("pasted", total)
    count = method_pickers.slider("Boxes pasted so far", "pasted", 0, total, total, 1, "Paste them one after another.")
    mix = with_losses(pair.pasted(count), selection, pair.settings, count == total)
    show_pair(pair, mix)
    show_numbers(mix, pair.settings.total_area)
    if count == 0:
        return
    st.subheader("Boxes in paste order")
    everything = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        heading = st.empty()
        half_covered = min(mix.report, key=lambda box: abs(box.share - 0.5)).number
        number = method_pickers.number("Box", "box", 0, count - 1, half_covered, "The box that is shown close up.")
    box = mix.report[number]
    heading.subheader(f"Box {number} shows {box.visible:,} of its {box.height * box.width:,} pixels")
    with everything:
        show_boxes(mix, total, number)
        if count < total:
            st.caption("Losses are told once all boxes are pasted.")
    show_one_box(mix, total, number)


@st.fragment(key="draws")
def show_many_draws() -> None:
    """What these settings become over many draws."""
    pair = draw_or_stop()
    settings = pair.settings
    if not settings.num_boxes:
        return
    st.subheader("The same settings drawn 200 times")
    height, width = pair.view_a.weak.shape[-2:]
    covered, visible = method_data.many_draws(height, width, settings, selection.place.seed)
    here = 1 - float(shown_pixels(pair.boxes, height, width)[0]) / (height * width)
    left, right = st.columns([3, 1])
    with left:
        figure = parts.draws_figure(covered, visible, height * width, settings.total_area, here)
        show_chart(figure, "draws", "Covered share and visible pixels over 200 draws", 300)
    with right:
        st.metric("Covered on average", f"{covered.mean():.1%}", help=f"Asked for: {settings.total_area:.0%}.")
        hidden = (visible[:, -settings.num_loss_boxes :] == 0).mean() if settings.num_loss_boxes else 0.0
        st.metric("Loss boxes that show nothing", f"{hidden:.1%}")
        st.caption("Bands: 5 to 95 % and 25 to 75 % of the draws. Later boxes cover earlier ones.")


def draw_or_stop() -> Pair:
    """The pair under the settings that were picked; what cannot be read ends the page with its reason."""
    try:
        return method_data.draw_pair(selection.place, st.session_state[DRAWN])
    except (UserError, OSError) as error:
        stop_with(error)


st.title("CutMix")
st.write(
    "Boxes of picture b are pasted over picture a, one after another. A later box hides part of the earlier ones, "
    f"and the {term('structured consistency loss', 'structured loss')} compares only pixels that a box still shows."
)
selection = method_pickers.pick_selection()
own, mixed = method_data.boxes_of_step(selection.place, selection.config)
method_views.say_which_step(selection)
say_how_drawn(selection, own, mixed)
pick_settings()
show_pasting()
show_many_draws()

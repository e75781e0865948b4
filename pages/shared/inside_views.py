"""What the page on the methods beside SCL draws, a function for each kind of method."""

import numpy as np
import streamlit as st

from pages.shared import inside_data
from pages.shared.method_pickers import Selection
from scl_core.figures import insides as figures
from scl_core.figures.insides import Panel, class_pixels, only_where, share_pixels
from scl_core.microscope.insides import CrossPseudoInside, PrototypeInside, RegionInside, StrongViewsInside

KEPT, LEFT_OUT = (255, 255, 255), (213, 94, 0)


def show_inside(inside, palette: np.ndarray, class_names: tuple[str, ...], selection: Selection) -> None:
    """The section of the method that `inside` was taken from."""
    settings = selection.config.method
    if isinstance(inside, CrossPseudoInside):
        show_cross_pseudo(inside, palette, class_names, selection)
    elif isinstance(inside, PrototypeInside):
        show_prototypes(inside, palette, class_names)
    elif isinstance(inside, RegionInside):
        show_regions(inside, palette, class_names, "query" if settings.name == "rc2l" else "class map")
    else:
        show_strong_views(inside, palette, settings.confidence_threshold)


def show(figure, key: str, title: str) -> None:
    """A chart under its heading."""
    st.subheader(title)
    st.plotly_chart(figure, key=key, theme="streamlit", config={"displayModeBar": False}, alt=title)


def show_cross_pseudo(
    inside: CrossPseudoInside, palette: np.ndarray, class_names: tuple[str, ...], selection: Selection
) -> None:
    """CPS: two answers to one mix, and the labels that each learns from the other."""
    st.write(
        f"Two networks see one picture and agree on {100 * inside.agreement:.1f} % of it. Each learns the labels that "
        "the other gives to the two whole pictures; where they differ there is something to learn."
    )
    panels = [
        Panel("what both see", inside.picture),
        Panel("first network", class_pixels(inside.first, palette)),
        Panel("second network", class_pixels(inside.second, palette)),
        Panel("where they differ", only_where(inside.picture, inside.differ)),
        Panel("taught to the first, by the second", class_pixels(inside.to_first, palette)),
        Panel("taught to the second, by the first", class_pixels(inside.to_second, palette)),
    ]
    show(figures.panels_figure(panels), "panels", "Two networks, one picture")
    agreement = inside_data.agreement_over_training(inside, selection, len(class_names))
    if agreement is None:
        return
    show(figures.agreement_figure(agreement, class_names), "agreement", "Agreement over training")
    st.caption(
        "Of the pixels that either network gives the class, the share that both give it, on this pair, at each "
        f"checkpoint that the run keeps ({len(agreement)})."
    )


def show_prototypes(inside: PrototypeInside, palette: np.ndarray, class_names: tuple[str, ...]) -> None:
    """PCR: the nearest prototype of each place, both predictors, the pixels of the step."""
    agree = (inside.linear == inside.prototype).mean()
    st.write(
        f"Linear and prototype predictor agree on {100 * agree:.1f} % of the pixels. Of the {len(inside.kept):,} "
        f"sampled pixels {int(inside.kept.sum()):,} have a confident label, and the prototype predictor learns those."
    )
    number = inside.chosen % inside.num_prototypes
    shade = 0.4 + 0.6 * (number + 1) / inside.num_prototypes
    chosen = (class_pixels(inside.prototype, palette) * shade[..., None]).astype(np.uint8)
    sampled = figures.with_dots(only_where(inside.picture, np.zeros_like(number, bool)), inside.places, LEFT_OUT)
    panels = [
        Panel("what the student sees", inside.picture),
        Panel("linear predictor", class_pixels(inside.linear, palette)),
        Panel("prototype predictor", class_pixels(inside.prototype, palette)),
        Panel("nearest prototype: class, and shade for its number", chosen),
        Panel("where the predictors differ", only_where(inside.picture, inside.linear != inside.prototype)),
        Panel("sampled pixels, kept ones white", figures.with_dots(sampled, inside.places[inside.kept], KEPT)),
    ]
    show(figures.panels_figure(panels), "panels", "Two predictors on the same features")
    names = [f"{name} {k}" for name in class_names for k in range(inside.num_prototypes)]
    show(
        figures.similarity_figure(inside.similarities, names, names, height=620),
        "matrix",
        "How alike the prototypes are",
    )


def show_regions(inside: RegionInside, palette: np.ndarray, class_names: tuple[str, ...], mask_name: str) -> None:
    """RC2L: the teacher's regions, the mask matched with each, and the similarities of the region contrast."""
    st.write(
        f"Regions that the teacher sees: {len(inside.classes)}. Each is to be most alike to its own mask of the "
        "student, the positive; the student's other masks are its negatives."
    )
    names = [class_names[number] for number in inside.classes]
    where = np.where(inside.regions < 0, -1, np.append(inside.classes, -1)[inside.regions])
    panels = [
        Panel("what the student sees", inside.picture),
        Panel("the teacher's regions", class_pixels(where, palette)),
    ]
    for name, match, mask in zip(names, inside.match, inside.masks, strict=True):
        panels.append(Panel(f"{name}: {mask_name} {match}", share_pixels(mask)))
    show(figures.panels_figure(panels, columns=4), "panels", "Regions and their masks")
    columns = [f"{mask_name} {number}" for number in range(inside.similarities.shape[1])]
    show(
        figures.similarity_figure(inside.similarities, names, columns, inside.match.tolist()),
        "matrix",
        "Regions against masks, the positives framed",
    )


def show_strong_views(inside: StrongViewsInside, palette: np.ndarray, threshold: float) -> None:
    """FixMatch and UniMatch: the weak view's labels, and what each strong view learns of them."""
    shares = ", ".join(f"{100 * view.kept.mean():.1f} %" for view in inside.views)
    st.write(
        f"The weak view's labels teach the strong views where the network is sure, with a probability of {threshold:g} "
        f"or more: {shares} of the pixels here."
    )
    panels = [
        Panel("weak view", inside.picture),
        Panel("its labels", class_pixels(inside.labels, palette)),
        Panel("their confidence, dark 0 to bright 1", share_pixels(inside.confidence)),
    ]
    for number, view in enumerate(inside.views, start=1):
        mixed = "mixed" if view.is_mixed else "not mixed in this step"
        panels += [
            Panel(f"strong view {number}, {mixed}", view.picture),
            Panel("labels that it learns", only_where(class_pixels(view.labels, palette), view.kept)),
            Panel("kept pixels", only_where(view.picture, view.kept)),
        ]
    show(figures.panels_figure(panels), "panels", "From the weak view to the strong ones")

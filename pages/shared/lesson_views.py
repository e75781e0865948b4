"""The ten steps of the lesson: what each shows, says and computes."""

import numpy as np
import streamlit as st

from pages.shared.method_views import short, show_chart
from pages.shared.similarity_panels import similarity_panels
from scl_core.figures import lesson as figures
from scl_core.figures.boxes import box_figure, owner_picture
from scl_core.figures.insides import Panel, class_pixels, only_where, panels_figure, share_pixels, with_dots
from scl_core.figures.similarity import matrix_figure
from scl_core.microscope.lesson import PAIRS, Lesson, example_pair, heaviest_box, similarity_of, squared_distances
from scl_core.probe import similarity_matrices

FIRST, SECOND = (213, 94, 0), (86, 180, 233)
MOST = 96


def show_panels(name: str, alt: str, *panels: Panel, columns: int = 3) -> None:
    """Pictures side by side, with their titles."""
    st.plotly_chart(
        panels_figure(panels, columns),
        key=f"chart_{name}",
        alt=alt,
        config={"displayModeBar": False, "staticPlot": True},
    )


def show_labels(lesson: Lesson) -> None:
    """Step 1: the supervised loss on a labeled picture."""
    st.write(
        "To **segment** a picture is to say of every pixel what it shows. A network learns it from pictures with a "
        "**mask**, which a person painted; that takes an hour a picture, so there are few. For each pixel the network "
        "gives a probability to each class, and the loss asks for a high one where the mask is."
    )
    right = right_probability(lesson)
    show_panels(
        "labels",
        "A labeled picture, its mask, and the probability of the right class",
        Panel("picture", lesson.picture),
        Panel("mask", class_pixels(np.where(lesson.labels == 255, -1, lesson.labels), lesson.palette)),
        Panel("probability of the right class: dark 0, bright 1", share_pixels(right)),
    )
    supervised = lesson.terms["supervised"]
    st.latex(
        rf"\mathcal L_s = -\frac1n\sum_i \log p^s_i(y_i) = \mathbf{{{supervised:.4f}}}\qquad\text{{(eq. 2, window 1)}}"
    )
    st.write(
        f"Over the {int((lesson.labels != 255).sum()):,} labeled pixels of this picture the right class gets "
        f"{np.nanmean(right):.0%} on average. This is all that training with labels alone has."
    )


def show_teacher(lesson: Lesson) -> None:
    """Step 2: the average, on one of its weights."""
    st.write(
        "Pictures **without** masks cost nothing, and there are many. But who says what is right on them? A second "
        "network, the **teacher**. It is not trained: after every step each of its weights moves a little towards the "
        "**student's**, the network that is trained. So it is an average of the students of the last steps, and calmer."
    )
    average, d = lesson.average, lesson.average.decay
    st.latex(r"\theta^t \leftarrow d\,\theta^t + (1 - d)\,\theta^s")
    st.latex(
        rf"{d:.2f}\cdot{average.teacher:.5f} + {1 - d:.2f}\cdot{average.student:.5f} = \mathbf{{{average.after:.5f}}}"
    )
    show_chart(
        figures.average_figure(average.decay, average.teacher, average.student), "average",
        "The teacher's weight over the next updates, if the student stood still", 280,
    )  # fmt: skip
    memory = f"about {1 / (1 - d):.0f} steps" if d < 1 else "every step"
    st.write(
        f"The numbers are those of one weight, `{average.name}`. With a decay of {d:.2f} the teacher remembers "
        f"{memory}: so long the curve takes to lose two thirds of its distance."
    )


def show_whole(lesson: Lesson) -> None:
    """Step 3: the teacher on both whole pictures."""
    st.write(
        "Take two unlabeled pictures, a and b. The teacher looks at each of them **whole**, with its colours as they "
        "are: the easiest task there is. What it answers is not the truth, but often near it."
    )
    probe = lesson.probe
    show_panels(
        "whole",
        "Both pictures and the teacher's classes on them",
        Panel("picture a", probe.image_a),
        Panel("the teacher's classes on a", most_probable(lesson, lesson.whole_a)),
        Panel("picture b", probe.image_b),
        Panel("the teacher's classes on b", most_probable(lesson, lesson.whole_b)),
        columns=2,
    )
    sure = [float(probs.max(0).values.mean()) for probs in (lesson.whole_a, lesson.whole_b)]
    st.write(
        f"Its highest probability is {sure[0]:.0%} on average on a, {sure[1]:.0%} on b. All of its probabilities are "
        "kept, not only the class that wins: they say which classes are alike to it."
    )


def show_boxes(lesson: Lesson) -> None:
    """Step 4: the boxes and the owner map."""
    method, probe = lesson.config.method, lesson.probe
    st.write(
        "Now make the student's task harder: **CutMix**. Draw boxes of random place and shape. Each shows its part of "
        "b over a, and a box that is pasted later hides what it covers of the earlier ones."
    )
    records = [vars(box) for box in probe.report]
    left, right = st.columns(2)
    with left:
        show_chart(box_figure(probe.mixed, probe.owner.numpy(), records), "boxes", "The boxes on the mix", 290)
    with right:
        owner = owner_picture(probe.mixed, probe.owner.numpy(), len(probe.boxes))
        show_chart(
            panels_figure([Panel("which box each pixel shows", owner)], width=520), "owner", "The owner map", 290
        )
    covered = float((probe.owner >= 0).float().mean())
    st.latex(rf"\frac{{|\text{{pixels in boxes}}|}}{{H\,W}} = \mathbf{{{covered:.3f}}}\qquad N = {len(probe.boxes)}")
    st.write(
        f"Asked for is a share of {method.total_area:g} on average over many draws; this draw has {covered:.1%}. The "
        "map on the right is all that the next steps need: -1 outside, else the number of the box."
    )


def show_mix(lesson: Lesson) -> None:
    """Step 5: mix, target and answer."""
    st.write(
        "The student gets the **mix**, with its colours changed. What should it answer? What the teacher said on the "
        "whole pictures, **mixed by the same boxes**: a pixel of b keeps the teacher's answer on b. The student sees "
        "it torn out of its surroundings and has to say the same."
    )
    probe = lesson.probe
    agree = float((probe.student.argmax(0) == probe.teacher.argmax(0))[probe.valid].float().mean())
    show_panels(
        "mix",
        "The mix, the target and the student's answer",
        Panel("the mix, for the student", probe.mixed),
        Panel("target: the teacher's answers, mixed", most_probable(lesson, probe.teacher)),
        Panel("the student's answer", most_probable(lesson, probe.student)),
    )
    st.latex(r"p^t = M \odot p^t(b) + (1 - M)\odot p^t(a),\qquad M = 1 \text{ in the boxes}")
    st.write(f"They name the same class at **{agree:.1%}** of the pixels. The rest is what can be learned here.")


def show_consistency(lesson: Lesson) -> None:
    """Step 6: eq. 4, pixel by pixel."""
    st.write(
        "The first thing to ask: at **each pixel** the same probabilities. Eq. 4 takes the squared distance of the two "
        "at each pixel, and their mean. No mask is needed anywhere."
    )
    found = squared_distances(lesson.probe)
    top = float(np.nanmax(found)) or 1.0
    show_panels(
        "distances",
        "Student, teacher and their squared distance at each pixel",
        Panel("target", most_probable(lesson, lesson.probe.teacher)),
        Panel("student", most_probable(lesson, lesson.probe.student)),
        Panel(f"squared distance: dark 0, bright {top:.2f}", share_pixels(found / top)),
    )
    st.latex(
        rf"\mathcal L_c = \frac1{{{int(lesson.probe.valid.sum())}}}\sum_i \lVert p^s_i - p^t_i \rVert^2 = "
        rf"\mathbf{{{lesson.terms['consistency']:.5f}}}"
    )
    st.write(
        f"The mean of the map on the right is {np.nanmean(found):.5f}, the loss itself. It is bright along borders and "
        "where a box cuts a thing in two."
    )


def show_similarity(lesson: Lesson) -> None:
    """Step 7: eq. 7 for two pixels."""
    st.write(
        "Now the idea of the method. Pixels are not alone: two pixels of one car should get **like** answers, one of "
        "the car and one of the road **unlike** ones. How alike two pixels are to a network is the cosine between "
        "their probabilities: 1 is the same direction, 0 is no class in common."
    )
    probe, number = lesson.probe, heaviest_box(lesson.probe)
    kind = st.segmented_control(
        "Two pixels", list(PAIRS), default=PAIRS[0], required=True, key="lesson_pixels", bind="query-params"
    )
    first, second = example_pair(probe, number, kind)
    left, right = st.columns(2, gap="large")
    with left:
        pixels = only_where(probe.mixed, probe.shown(number).numpy())
        for place, color in ((first, FIRST), (second, SECOND)):
            pixels = with_dots(pixels, cross(place, pixels.shape[:2]), color)
        show_chart(
            panels_figure([Panel(f"box {number}: i orange, j blue", pixels)], width=520), "two",
            f"Box {number} with the pixels i at {first} and j at {second}", 290,
        )  # fmt: skip
    with right:
        bars = {
            f"{side} at {name}": probs[:, place[0], place[1]].numpy()
            for side, probs in (("teacher", probe.teacher), ("student", probe.student))
            for name, place in (("i", first), ("j", second))
        }
        show_chart(figures.answers_figure(bars, lesson.class_names), "answers", "The answers at both pixels", 290)
    teacher, student = similarity_of(probe, first, second)
    st.latex(
        r"a_{ij} = \frac{p_i\cdot p_j}{\lVert p_i\rVert\,\lVert p_j\rVert}:\qquad "
        rf"a^t_{{ij}} = \mathbf{{{teacher:.4f}}},\quad a^s_{{ij}} = \mathbf{{{student:.4f}}}\qquad\text{{(eq. 5, 7)}}"
    )
    st.latex(rf"(a^s_{{ij}} - a^t_{{ij}})^2 = \mathbf{{{short((student - teacher) ** 2)}}}")


def show_structure(lesson: Lesson) -> None:
    """Step 8: eq. 8 for one box."""
    st.write(
        "One pair of pixels says little; take **every** pixel of a box with **every** other. The loss of a box is the "
        "mean of the squared difference over all of these pairs."
    )
    probe, number = lesson.probe, heaviest_box(lesson.probe)
    box, found = probe.report[number], similarity_matrices(probe, number, MOST, "class")
    figure = matrix_figure(found.teacher, found.student)
    similarity_panels(figure, key="lesson_matrices", label=f"Similarity matrices of box {number}")
    st.latex(
        rf"\ell_{{{number}}} = \frac1{{{box.visible}^2}}\sum_{{i,j}} (a^s_{{ij}} - a^t_{{ij}})^2 = "
        rf"\mathbf{{{short(box.loss)}}}\qquad\text{{(eq. 6, 8)}}"
    )
    every = "every pixel" if found.stride == 1 else f"every {found.stride}th row and column"
    st.write(
        f"Box {number} shows {box.visible:,} pixels, so {box.pairs:,} pairs. The matrices hold {every}, ordered by the "
        "teacher's class: bright squares along the diagonal are things that are alike inside. The mean of the drawn "
        f"part of the third matrix is {np.square(found.student - found.teacher).mean():.5f}."
    )


def show_sum(lesson: Lesson) -> None:
    """Step 9: what each box adds."""
    st.write(
        "Why inside a box? Because there the pixels come from **one** picture and stay neighbours, while all around "
        "them changed. Every box gives a loss; together they are the structured consistency."
    )
    probe = lesson.probe
    boxes = [box for box in probe.report if box.in_loss]
    show_chart(figures.terms_figure([vars(box) for box in boxes]), "terms", "What each box adds to the loss", 300)
    scale = rf"\frac1{{{len(boxes)}}}" if probe.box_reduction == "mean" else ""
    total = sum(box.term for box in boxes)
    st.latex(rf"\mathcal L_{{sc}} = {scale}\sum_n \ell_n = \mathbf{{{probe.structured:.5f}}}\qquad\text{{(eq. 8, 10)}}")
    st.write(
        f"The bars add up to {total:.5f}. Over all boxes these are {sum(box.pairs for box in boxes):,} pairs of "
        "pixels; the loss is exact, since a sum over all pairs is one over a matrix of classes times classes."
    )


def show_step(lesson: Lesson) -> None:
    """Step 10: the weighted sum."""
    st.write(
        "The three losses are weighed and added. The student takes a step downhill, and the teacher moves after it. "
        "Then come the next pictures, the next boxes: thousands of times."
    )
    terms, weights = lesson.terms, lesson.weights
    st.latex(
        r"\mathcal L = \mathcal L_s + \lambda_c\,\mathcal L_c + \lambda_{sc}\,\mathcal L_{sc}\qquad\text{(eq. 1, 3)}"
    )
    numbers = " + ".join(rf"{weights[name]:g}\cdot{terms[name]:.5f}" for name in terms)
    st.latex(rf"{numbers} = \mathbf{{{lesson.loss:.5f}}}")
    weighted = {name: weights[name] * value for name, value in terms.items()}
    show_chart(figures.sum_figure(weighted), "sum", "The weighted terms of the loss", 210)
    st.write(
        "The numbers are of this one picture and this one pair; training takes several of each in a step. Small does "
        "not mean unimportant: what counts is how strongly a term pulls at the weights, its gradient, which the page "
        "Health shows for every run. Now look at other steps on the pages of the section Method, or launch a run."
    )


def right_probability(lesson: Lesson) -> np.ndarray:
    """What the student gives to the class of the mask, float [H, W]; NaN where ignored."""
    known = lesson.labels != 255
    picked = lesson.labeled_probs.numpy()
    found = np.take_along_axis(picked, np.where(known, lesson.labels, 0)[None], 0)[0]
    return np.where(known, found, np.nan)


def most_probable(lesson: Lesson, probs) -> np.ndarray:
    """The most probable classes of probabilities [C, H, W] in their colours."""
    return class_pixels(probs.argmax(0).numpy(), lesson.palette)


def cross(place: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """A pixel and those around it, which make a dot that can be seen, [n, 2]."""
    rows, columns = np.mgrid[-1:2, -1:2]
    found = np.stack([rows.ravel() + place[0], columns.ravel() + place[1]], 1)
    return found[((found >= 0) & (found < size)).all(1)]


STEPS = (
    ("Few pictures with masks", show_labels),
    ("A teacher for the many without", show_teacher),
    ("The teacher sees whole pictures", show_whole),
    ("Boxes", show_boxes),
    ("The student sees the mix", show_mix),
    ("Agree on every pixel", show_consistency),
    ("How alike are two pixels?", show_similarity),
    ("Agree on every pair of pixels", show_structure),
    ("All boxes", show_sum),
    ("One step of training", show_step),
)

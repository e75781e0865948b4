"""The heat maps of the forms: each pulls where its pixels are, and only there."""

import numpy as np
import pytest

from experiments.forms import COLUMNS, FORMS, forms_figure, mixed_scenes, pulls


@pytest.fixture(scope="module")
def case():
    return mixed_scenes()


def test_every_form_pulls_somewhere_and_the_boxes_nowhere_else(case):
    picture, *maps = case
    found = {name: pulls(changes, *maps) for name, changes in FORMS.items()}
    outside = (maps[2][0] < 0).numpy()
    for name, values in found.items():
        assert values.shape == outside.shape and values.max() == 1 and values.min() >= 0
        assert values[outside].any() != name.startswith("boxes"), name
    assert not np.allclose(found["whole (eq. 6)"], found["whole, class_area"])
    figure = forms_figure(picture, found)
    assert len(figure.data) == len(FORMS) + 1 and COLUMNS == 3


def test_the_small_sign_counts_once_classes_count_the_same(case):
    _, *maps = case
    classes = maps[1].argmax(1)[0]
    sizes = classes.flatten().bincount(minlength=maps[1].shape[1])
    common, rare = (
        (classes == sizes.argmax()).numpy(),
        (classes == sizes.masked_fill(sizes == 0, 10**9).argmin()).numpy(),
    )
    plain, weighted = (pulls(FORMS[name], *maps) for name in ("whole (eq. 6)", "whole, class_area"))
    assert weighted[rare].mean() / weighted[common].mean() > 3 * plain[rare].mean() / plain[common].mean()

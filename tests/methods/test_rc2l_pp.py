"""RC2L for per-pixel networks: its terms by separate calls, what it must not move, its settings, a run that goes on."""

import pytest
import torch
from torch.nn import functional as F

from scl_core.cutmix import at_cells, cutmix
from scl_core.losses import (
    mask_average_pool,
    region_feature_contrast,
    region_mask_contrast,
)
from scl_core.losses.region import semantic_mask_consistency
from scl_core.methods import StepDraws
from scl_core.methods.parts import draw_owner
from scl_core.methods.rc2l_pp import Rc2lPp, Rc2lPpConfig
from scl_core.models import build_segmenter
from scl_core.models.layers import resize
from tests.methods.mixing import (
    CLASSES,
    assert_resumed_equals_uninterrupted,
    random_batch,
    refusal,
    small_network,
)
from tests.methods.region_cases import (
    DRAWS,
    EMPTY_OR_SMALL,
    TERMS,
    assert_gradient_reaches_the_student_alone,
    assert_stays_finite,
    assert_structured_is_added,
    assert_terms_are,
)


def method_with(network=None, **settings):
    method = Rc2lPp(network or small_network(), Rc2lPpConfig(**{"min_area": 3, "ramp": 0.0} | settings), steps=10)
    for seed, parameter in enumerate(method.teacher.model.parameters()):
        parameter.data.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return method


def by_hand(method, batch):
    """The four terms, picture by picture and class by class, by the plain functions; features have the input's size."""
    a, b, config = batch.unlabeled_a, batch.unlabeled_b, method.config
    owner = draw_owner(a, batch.positions, DRAWS, config)
    student = method.student(cutmix(a.strong[0], b.strong[0], owner))
    seen = [method.teacher.model(views.weak) for views in (a, b)]
    probs = cutmix(*(output.logits.softmax(1) for output in seen), owner)
    teacher_features = cutmix(*(output.features for output in seen), owner)
    valid = cutmix(a.valid, b.valid, owner)
    terms = {name: [] for name in TERMS}
    for picture in range(len(owner)):
        label = probs[picture].argmax(0).where(valid[picture], torch.tensor(CLASSES))
        present = [c for c in range(CLASSES) if int((label == c).sum()) >= config.min_area]
        kept = torch.isin(label, torch.tensor(present))
        masks = student.logits[picture].softmax(0) * kept
        regions = torch.stack([label == c for c in present])
        match = torch.tensor(present)
        features = mask_average_pool(student.features[picture], masks)
        teacher = mask_average_pool(teacher_features[picture], regions)
        weight, bias = method.student.classifier.weight.flatten(1), method.student.classifier.bias
        terms["region_mask"].append(region_mask_contrast(masks, regions, match, config.mask_temperature))
        terms["region_feature"].append(region_feature_contrast(features, teacher, match, config.feature_temperature))
        terms["region_class"].append(F.cross_entropy(features[match] @ weight.T + bias, match))
        semantic = student.logits[picture : picture + 1].softmax(1), probs[picture : picture + 1]
        terms["semantic_mask"].append(semantic_mask_consistency(*semantic, "dice", kept[None]))
    return {name: torch.stack(values).mean() for name, values in terms.items()}


@pytest.mark.parametrize("num_boxes", [0, 2])
@pytest.mark.parametrize("min_area", [3, 120])
def test_terms_are_those_of_separate_calls(num_boxes, min_area):
    method, batch = method_with(num_boxes=num_boxes, min_area=min_area), random_batch()
    assert_terms_are(by_hand(method, batch), method, batch, atol=1e-6, rtol=1e-4)


def test_structured_term_is_added_where_it_has_a_weight():
    assert_structured_is_added(method_with(num_boxes=2, structured_weight=0.5), random_batch())
    assert "structured" not in method_with(num_boxes=2)(random_batch(), DRAWS)


def test_no_gradient_reaches_the_teacher_and_every_parameter_of_the_student_takes_part():
    network = build_segmenter("mobilenet_v2", CLASSES, width=0.25, decoder_channels=8)
    assert_gradient_reaches_the_student_alone(method_with(network))


def test_both_networks_are_scored_the_teacher_first():
    method = method_with()
    assert list(method.evaluated) == ["teacher", "student"]
    before = [parameter.clone() for parameter in method.teacher.model.parameters()]
    method.after_step(1)  # the warm-up's first average is the student
    for now, then, student in zip(method.teacher.model.parameters(), before, method.student.parameters(), strict=True):
        assert torch.equal(now, student) and not torch.equal(now, then)


def test_one_pass_and_two_agree_without_batch_norm():
    batch = random_batch()
    joint, apart = (method_with(joint_forward=joint)(batch, DRAWS) for joint in (True, False))
    torch.testing.assert_close(joint, apart)


@pytest.mark.parametrize("case", EMPTY_OR_SMALL)
def test_what_is_empty_or_small_stays_finite(case):
    assert_stays_finite(case, method_with, min_area=3)


def test_labels_alone_before_the_start_and_a_ramp_after_it():
    method = method_with(start=0.3, ramp=0.4, region_mask_weight=3.0)
    assert set(method(random_batch(), StepDraws(0, 3))) == {"supervised"}
    assert method.weights(3)["region_mask"] == 0.0 < method.weights(4)["region_mask"] < method.weights(9)["region_mask"]
    assert method.weights(9)["region_mask"] == 3.0 and method.weights(9)["semantic_mask"] == 1.0


@pytest.mark.parametrize("size", [((16, 24), (4, 6)), ((33, 17), (9, 5)), ((7, 5), (7, 5)), ((5, 5), (1, 1))])
def test_cells_read_the_pixel_that_resizing_puts_them_on(size):
    (height, width), cells = size
    rows = torch.arange(height, dtype=torch.float64).view(1, 1, -1, 1).expand(1, 1, height, width)
    columns = torch.arange(width, dtype=torch.float64).view(1, 1, 1, -1).expand(1, 1, height, width)
    for grid in (rows, columns):
        assert (at_cells(grid[:, 0], cells) - resize(grid, cells)[:, 0]).abs().max() <= 0.5


def test_resumed_equals_uninterrupted(tmp_path):
    columns = assert_resumed_equals_uninterrupted(
        tmp_path, method__name="rc2l_pp", method__num_boxes=1, method__structured_weight=1.0, method__min_area=2
    )
    assert {*TERMS, "supervised", "structured"} <= columns


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method__mask_temperature": 0}, "method.mask_temperature 0.0 is out of range"),
        ({"method__semantic_distance": "kl"}, "method.semantic_distance 'kl' is not one of dice, mse, ce"),
        ({"method__structured_weight": 1}, "method.structured_weight 1.0 has no boxes to work in"),
        ({"method__num_loss_boxes": 1}, "method.num_loss_boxes 1 is more than method.num_boxes 0"),
        ({"method__num_queries": 9}, "unknown setting method.num_queries of method rc2l_pp"),
        ({"model__encoder": "tests.methods.test_rc2l_pp:without_classifier"}, "`classifier`"),
    ],
)
def test_bad_settings_are_one_line(capsys, tmp_path, changes, message):
    assert message in refusal(capsys, tmp_path, method__name="rc2l_pp", **changes)


def without_classifier(num_classes):
    return torch.nn.Conv2d(3, num_classes, 1)

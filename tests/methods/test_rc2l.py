"""RC2L on queries: its terms by separate calls, what it must not move, its settings, a run that goes on."""

from functools import partial

import pytest
import torch
from torch import nn

from scl_core.command_line import run_command
from scl_core.cutmix import at_cells, cutmix
from scl_core.losses import (
    mask_average_pool,
    region_feature_contrast,
    region_mask_contrast,
)
from scl_core.losses.mask_classification import hungarian_match, label_regions, matching_cost
from scl_core.losses.region import Regions, region_class_consistency, semantic_mask_consistency
from scl_core.methods.parts import draw_owner
from scl_core.methods.rc2l import Rc2l, Rc2lConfig
from scl_core.models import build_segmenter
from scl_core.models.queries import QuerySegmenter
from scl_core.train import main as train
from tests.methods.mixing import (
    CLASSES,
    assert_resumed_equals_uninterrupted,
    random_batch,
    refusal,
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
from tests.tiny import checkpoint_tensors, tiny_options

SMALL = {"num_queries": 6, "decoder_layers": 2, "heads": 2, "min_area": 2, "ramp": 0.0}


class Pointwise(nn.Module):
    """An encoder of one 1x1 convolution: maps at the picture's size, no batch norm."""

    low_channels = deep_channels = 8

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU())

    def forward(self, images):
        return self.conv(images), self.conv(images[:, :, ::4, ::4])


def method_with(**settings):
    config = Rc2lConfig(**SMALL | settings)
    torch.manual_seed(3)
    student = QuerySegmenter(Pointwise(), CLASSES, 8, config.num_queries, config.decoder_layers, config.heads)
    method = Rc2l(student, config, steps=10)
    for seed, parameter in enumerate(method.teacher.model.parameters()):
        parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return method


def by_hand(method, batch, queries=False):
    """The four terms picture by picture, region by region, by the plain functions."""
    a, b, config = batch.unlabeled_a, batch.unlabeled_b, method.config
    owner = draw_owner(a, batch.positions, DRAWS, config)
    student = method.student.queries(cutmix(a.strong[0], b.strong[0], owner))
    seen = [method.teacher.model.queries(views.weak) for views in (a, b)]
    semantic = cutmix(*(output.semantic() for output in seen), owner)
    teacher_features = cutmix(*(output.features for output in seen), owner)
    valid = cutmix(a.valid, b.valid, owner)
    terms = {name: [] for name in TERMS}
    for picture in range(len(owner)):
        label = semantic[picture].argmax(0).where(valid[picture], torch.tensor(CLASSES))
        classes = [c for c in range(CLASSES) if int((label == c).sum()) >= config.min_area]
        kept = torch.isin(label, torch.tensor(classes))
        regions = torch.stack([label == c for c in classes]).double()
        if queries:
            probs, found = seen[0].class_logits[picture, -1].softmax(1)[:, :-1].max(1)
            soft = seen[0].masks()[picture].sigmoid().double() * valid[picture]
            taken = (probs > 0.5) & (soft.sum((1, 2)) >= config.min_area)
            classes, regions, kept = found[taken].tolist(), soft[taken], valid[picture]
        classes = torch.tensor(classes)
        logits, mask_logits = student.class_logits[picture, -1], student.masks()[picture]
        pool = Regions(classes[None], torch.ones(1, len(classes), dtype=torch.bool), kept[None], masks=regions[None])
        match = hungarian_match(matching_cost(logits[None], mask_logits[None], pool), pool.present)[0]
        masks = mask_logits.sigmoid() * kept
        features = mask_average_pool(student.features[picture], masks)
        teacher = mask_average_pool(teacher_features[picture], regions)
        terms["region_mask"].append(region_mask_contrast(masks, regions, match))
        terms["region_feature"].append(region_feature_contrast(features, teacher, match))
        terms["region_class"].append(region_class_consistency(logits, classes, match, config.region_no_object_weight))
        maps = student.semantic()[picture : picture + 1], semantic[picture : picture + 1]
        terms["semantic_mask"].append(semantic_mask_consistency(*maps, "dice", kept[None]))
    return {name: torch.stack(values).mean() for name, values in terms.items()}


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_dropout_is_the_students_alone_and_drawn_by_the_pictures_places(start):
    method, batch = method_with(decoder_dropout=0.3, start=start), random_batch()
    terms = method(batch, DRAWS)
    keys = DRAWS.keys((0, 1), "dropout-labeled", batch.images.device)
    assert torch.equal(keys[:1], DRAWS.keys((0,), "dropout-labeled", batch.images.device)) and keys[0] != keys[1]
    output = method.student.queries(batch.images, keys, 0.3)
    torch.testing.assert_close(terms["supervised"], method.labeled_term(output, batch.labels))
    assert (terms["supervised"] - method_with(start=start)(batch, DRAWS)["supervised"]).abs() > 1e-3
    if start == 0.0:
        keys = DRAWS.keys(batch.positions, "dropout", batch.images.device)
        unlabeled = method.student.queries(batch.unlabeled_a.strong[0], keys, 0.3)
        seen = method.teacher.model.queries(batch.unlabeled_a.weak)
        expected = method.region_terms(unlabeled, method.teacher_side(seen, None, batch.unlabeled_a.valid))
        torch.testing.assert_close({name: terms[name] for name in TERMS}, expected)


@pytest.mark.parametrize(
    "settings",
    [{}, {"num_boxes": 2, "region_no_object_weight": 0.2}, {"min_area": 150}, {"teacher_regions": "queries"}],
)
def test_terms_are_those_of_separate_calls(settings):
    method, batch = method_with(**settings), random_batch()
    if "teacher_regions" in settings:
        method.teacher.model.class_head.weight.data.mul_(4)  # so that some queries are sure of an object
    expected = by_hand(method, batch, "teacher_regions" in settings)
    assert_terms_are(expected, method, batch, atol=1e-5, rtol=1e-3)


def test_supervised_term_is_maskformers_with_a_matching_for_each_layer():
    method, batch = method_with(focal_weight=5.0, dice_weight=2.0, no_object_weight=0.3), random_batch()
    batch.labels[:, :4] = 255
    output = method.student.queries(batch.images)
    layers, known = [], batch.labels != 255
    for layer in range(2):
        masks, logits = output.masks(layer), output.class_logits[:, layer]
        regions = label_regions(batch.labels, CLASSES)
        match = hungarian_match(matching_cost(logits, masks, regions, 5.0, 2.0), regions.present)
        target = torch.full((2, 6), CLASSES)
        focal, dice = [], []
        for b in range(2):
            for c in range(CLASSES):
                query = int(match[b, c])
                target[b, query] = c
                x, inside = masks[b, query][known[b]], (batch.labels[b] == c)[known[b]].float()
                p = x.sigmoid()
                entropy = nn.functional.binary_cross_entropy(p, inside, reduction="none")
                right = torch.where(inside > 0, p, 1 - p)
                focal.append((torch.where(inside > 0, 0.25, 0.75) * (1 - right) ** 2 * entropy).mean())
                dice.append(1 - (2 * (p * inside).sum() + 1) / (p.sum() + inside.sum() + 1))
        weights = torch.tensor([1.0] * CLASSES + [0.3])
        classes = nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), weights)
        layers.append(classes + 5 * torch.stack(focal).mean() + 2 * torch.stack(dice).mean())
    torch.testing.assert_close(method(batch, DRAWS)["supervised"], sum(layers) / 2)


def test_a_plain_segmenter_lends_its_encoder():
    segmenter = build_segmenter("mobilenet_v2", 4, width=0.25, decoder_channels=16)
    method = Rc2l(segmenter, Rc2lConfig(num_queries=5, decoder_layers=1), steps=10)
    assert method.student.encoder is segmenter.encoder
    assert method.student(torch.zeros(2, 3, 32, 32)).logits.shape == (2, 4, 32, 32)
    assert list(method.evaluated) == ["teacher", "student"]


def test_a_run_starts_from_one_of_its_own_kind_and_from_a_plain_one(tmp_path):
    """The weights of queries come back whole; of another method's network, its encoder."""
    small = {"num_queries": 12, "decoder_layers": 1, "heads": 2}
    own = {"method__name": "rc2l"} | {f"method__{name}": value for name, value in small.items()}
    for name, settings in (("own", own), ("plain", {"method__name": "supervised"})):
        assert run_command(train, tiny_options(tmp_path / name, train__steps=1, **settings)) == 0
    for name, network in (("own", "teacher"), ("plain", "student")):
        still = {"model__weights": tmp_path / name, "train__steps": 1, "train__learning_rate": 0}
        assert run_command(train, tiny_options(tmp_path / f"from {name}", **own | still)) == 0
        first, found = (checkpoint_tensors(folder, 1) for folder in (tmp_path / name, tmp_path / f"from {name}"))
        same = [key for key in found if key.startswith("student:") and "running" not in key and "tracked" not in key]
        same = [key for key in same if name == "own" or ":encoder." in key]
        assert len(same) > 50
        assert all(torch.equal(found[key], first[key.replace("student", network)]) for key in same)


def test_weights_of_other_queries_are_refused(tmp_path, capsys):
    settings = {"method__name": "rc2l", "method__decoder_layers": 1, "method__heads": 2, "train__steps": 1}
    assert run_command(train, tiny_options(tmp_path / "first", method__num_queries=12, **settings)) == 0
    capsys.readouterr()
    other = settings | {"model__weights": tmp_path / "first", "method__num_queries": 13}
    assert "1 mis-shaped: query_positions" in refusal(capsys, tmp_path, **other)


def test_no_gradient_reaches_the_teacher_and_every_parameter_of_the_student_takes_part():
    segmenter = build_segmenter("mobilenet_v2", CLASSES, width=0.25, decoder_channels=8)
    assert_gradient_reaches_the_student_alone(Rc2l(segmenter, Rc2lConfig(**SMALL), steps=10))


def test_matched_negatives_lower_the_two_contrasts_and_nothing_else():
    batch = random_batch()
    every, matched = (method_with(negatives=negatives)(batch, DRAWS) for negatives in ("all", "matched"))
    for name in every:
        if name in ("region_mask", "region_feature"):
            assert matched[name] == 0 < every[name]  # the teacher has a single region here, which has no others
        else:
            assert torch.equal(matched[name], every[name])


@pytest.mark.parametrize("case", EMPTY_OR_SMALL)
@pytest.mark.parametrize("reading", ["classes", "queries"])
def test_what_is_empty_or_small_stays_finite(case, reading):
    assert_stays_finite(case, partial(method_with, teacher_regions=reading), min_area=2)


def test_one_pass_and_two_agree_without_batch_norm_and_the_start_has_labels_alone():
    batch = random_batch()
    joint, apart = (method_with(joint_forward=joint)(batch, DRAWS) for joint in (True, False))
    torch.testing.assert_close(joint, apart)
    assert set(method_with(start=0.3)(batch, DRAWS)) == {"supervised"}


def test_it_learns_four_pictures():
    torch.manual_seed(0)
    segmenter = build_segmenter("mobilenet_v2", CLASSES, width=0.25, decoder_channels=16)
    method = Rc2l(segmenter, Rc2lConfig(**SMALL), steps=40)
    labels = torch.randint(0, CLASSES, (4, 2, 2)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    colors = nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2)
    images = 2.0 * colors + 0.1 * torch.randn(4, 3, 32, 32)
    optimizer = torch.optim.AdamW(method.student.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = method.labeled_term(method.student.queries(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert (method.student(images).logits.argmax(1) == labels).float().mean() > 0.8


def test_structured_term_is_added_where_it_has_a_weight():
    assert_structured_is_added(method_with(num_boxes=2, structured_weight=0.5), random_batch())


def test_label_maps_are_read_at_the_cells_of_the_features():
    labels = torch.arange(35).view(1, 7, 5)
    assert at_cells(labels, (3, 2)).tolist() == [[[0, 4], [15, 19], [30, 34]]]


def test_resumed_equals_uninterrupted(tmp_path):
    columns = assert_resumed_equals_uninterrupted(
        tmp_path,
        method__name="rc2l",
        method__num_queries=12,
        method__decoder_layers=2,
        method__heads=2,
        method__num_boxes=1,
        method__min_area=2,
        method__ema_time=0.5,
        method__teacher_bn="recalibrate",
    )
    assert {*TERMS, "supervised"} <= columns


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method__num_queries": 10}, "method.num_queries 10 is less than the data's 11 classes"),
        ({"method__heads": 3}, "method.heads 3 does not divide model.decoder_channels 8"),
        ({"method__teacher_regions": "boxes"}, "method.teacher_regions 'boxes' is not one of classes, queries"),
        ({"method__teacher_regions": "queries", "method__num_boxes": 1}, "set method.num_boxes to 0"),
        ({"method__relaxation_window": 3}, "unknown setting method.relaxation_window of method rc2l"),
        ({"model__encoder": "tests.methods.test_rc2l:own_network"}, "builds its own decoders on an encoder"),
    ],
)
def test_bad_settings_are_one_line(capsys, tmp_path, changes, message):
    assert message in refusal(capsys, tmp_path, method__name="rc2l", **changes)


def own_network(num_classes):
    return nn.Conv2d(3, num_classes, 1)

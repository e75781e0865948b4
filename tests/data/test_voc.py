"""PASCAL VOC's tree: three places for its root, its own and the augmented masks, and every form of public list."""

import numpy as np
import pytest
from PIL import Image

from scl_core.config import load_config
from scl_core.data.sources import open_data, recognise_layout
from scl_core.data.voc import VocConfig
from scl_core.errors import UserError

TRAIN = ["2007_000032", "2007_000039"]
AUGMENTED = ["2008_000002", "2008_000005"]
VAL = ["2007_000033"]


@pytest.fixture
def devkit(tmp_path):
    """Two training pictures with the set's own masks and the augmented ones, two with the latter alone, one for val."""
    root = tmp_path / "data" / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for name in TRAIN + AUGMENTED + VAL:
        Image.new("RGB", (16, 8)).save(root / "JPEGImages" / f"{name}.jpg")
        Image.new("L", (16, 8), 2).save(root / "SegmentationClassAug" / f"{name}.png")
    for name in TRAIN + VAL:
        own = Image.new("P", (16, 8), 15)
        own.putpalette(bytes(range(256)) * 3)
        own.save(root / "SegmentationClass" / f"{name}.png")
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(TRAIN))
    (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(VAL))
    return tmp_path / "data"


def open_voc(root, **settings):
    return open_data(VocConfig(root=str(root), **settings))


def counts(source) -> dict[str, int]:
    return {name: len(pictures) for name, pictures in source.lists.items()}


@pytest.mark.parametrize("place", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_the_root_is_any_of_its_three_folders(devkit, place):
    source = open_voc(devkit / place)
    assert counts(source) == {"labeled": 2, "unlabeled": 2, "train": 4, "val": 1}
    assert source.lists["labeled"].names == tuple(TRAIN) and source.lists["unlabeled"].names == tuple(AUGMENTED)
    assert source.list_hash == "21641d7c832e"
    assert recognise_layout(str(devkit / place)) == "voc"
    assert load_config([], {"data.root": str(devkit / place)}).data.name == "voc"


def test_classes_and_the_colors_of_the_sets_own_palette(devkit):
    source = open_voc(devkit)
    assert len(source.class_names) == 21 and source.class_names[15] == "person"
    assert source.palette[[0, 1, 15, 20]].tolist() == [[0, 0, 0], [128, 0, 0], [192, 128, 128], [0, 64, 128]]


def test_the_sets_own_mask_goes_before_the_augmented_one(devkit):
    source = open_voc(devkit, labeled="train_aug")
    assert source.lists["labeled"].names == (*TRAIN, *AUGMENTED)
    assert [int(source.lists["labeled"].mask(i)[0, 0]) for i in range(4)] == [15, 15, 2, 2]
    assert counts(source) == {"labeled": 4, "train": 4, "val": 1}


def test_a_list_of_the_augmented_set_is_used_where_it_is_there(devkit):
    (devkit / "VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt").write_text("\n".join(AUGMENTED[:1] + TRAIN))
    assert open_voc(devkit, labeled="train_aug").lists["labeled"].names == (AUGMENTED[0], *TRAIN)


@pytest.mark.parametrize(
    "form", ["{0}", "JPEGImages/{0}.jpg SegmentationClass/{0}.png", "/JPEGImages/{0}.jpg\t/SegmentationClass/{0}.png"]
)
def test_every_public_form_gives_the_same_lists_and_hash(devkit, tmp_path, form):
    (tmp_path / "labeled.txt").write_text("\n".join(form.format(name) for name in (AUGMENTED[1], TRAIN[0])))
    (tmp_path / "unlabeled.txt").write_text("\n".join(form.format(name) for name in (TRAIN[1], AUGMENTED[0])))
    source = open_voc(devkit, labeled=str(tmp_path / "labeled.txt"))
    assert source.lists["labeled"].names == (AUGMENTED[1], TRAIN[0])
    assert source.lists["unlabeled"].names == (TRAIN[1], AUGMENTED[0])
    assert [int(source.lists["labeled"].mask(i)[0, 0]) for i in range(2)] == [2, 15]
    assert source.list_hash == "7eaf402ed6e6"


def test_a_list_may_ask_for_the_augmented_mask(devkit, tmp_path):
    (tmp_path / "mine.txt").write_text(f"JPEGImages/{TRAIN[0]}.jpg SegmentationClassAug/{TRAIN[0]}.png")
    assert int(open_voc(devkit, labeled=str(tmp_path / "mine.txt")).lists["labeled"].mask(0)[0, 0]) == 2


def test_without_augmented_masks_the_rest_of_train_is_unlabeled(devkit, tmp_path):
    (devkit / "VOCdevkit/VOC2012/SegmentationClassAug").rename(tmp_path / "away")
    (tmp_path / "mine.txt").write_text(TRAIN[1])
    source = open_voc(devkit, labeled=str(tmp_path / "mine.txt"))
    assert source.lists["unlabeled"].names == (TRAIN[0],)
    with pytest.raises(
        UserError, match=r"data\.labeled: the set has no 'train_aug' here, looked for .*trainaug\.txt or Seg"
    ):
        open_voc(devkit, labeled="train_aug")


def test_unlabeled_pictures_need_no_mask(devkit, tmp_path):
    Image.new("RGB", (16, 8)).save(devkit / "VOCdevkit/VOC2012/JPEGImages/2010_000001.jpg")
    (tmp_path / "unlabeled.txt").write_text("2010_000001\n" + TRAIN[1])
    (tmp_path / "labeled.txt").write_text(TRAIN[0])
    source = open_voc(devkit, labeled=str(tmp_path))
    assert counts(source) == {"labeled": 1, "unlabeled": 2, "train": 2, "val": 1}
    (tmp_path / "labeled.txt").write_text("2010_000001")
    with pytest.raises(UserError, match=r"labeled\.txt line 1: there is no mask for JPEGImages/2010_000001\.jpg"):
        open_voc(devkit, labeled=str(tmp_path))


def test_what_is_missing_is_named(devkit, tmp_path):
    (tmp_path / "labeled.txt").write_text(TRAIN[0])
    (tmp_path / "unlabeled.txt").write_text("2011_999999")
    with pytest.raises(UserError, match=r"unlabeled\.txt line 1: no picture JPEGImages/2011_999999\.jpg in"):
        open_voc(devkit, labeled=str(tmp_path))
    (devkit / "VOCdevkit/VOC2012/JPEGImages").rename(tmp_path / "away")
    with pytest.raises(
        UserError, match=r"holds no VOC: JPEGImages and SegmentationClass or .* VOC2012 or VOCdevkit/VOC2012"
    ):
        open_voc(devkit)


def test_pictures_and_masks_are_decoded_at_one_size(devkit):
    source = open_voc(devkit, height=4, width=8)
    source.check_labels()
    assert source.lists["val"].input(0).shape == (4, 8, 3)
    assert set(np.unique(source.lists["val"].label(0))) == {15}

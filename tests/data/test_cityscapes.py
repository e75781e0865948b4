"""Cityscapes' tree: its splits, its two kinds of label ids, coarse pictures, and every form of public list."""

import numpy as np
import pytest
from PIL import Image

from scl_core.config import load_config
from scl_core.data.cityscapes import CLASSES, CityscapesConfig
from scl_core.data.sources import open_data, recognise_layout
from scl_core.errors import UserError

TRAIN = [f"aachen_00000{n}_000019" for n in range(3)] + ["zurich_000000_000019"]
VAL = ["munster_000000_000019"]
EXTRA = ["bayreuth_000000_000192", "bayreuth_000000_000383"]


def write_mask(root, kind: str, split: str, name: str, ids: str, value: int = 7):
    folder = root / kind / split / name.split("_")[0]
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 16), value, np.uint8)).save(folder / f"{name}_{kind}_{ids}.png")


@pytest.fixture
def tree(tmp_path):
    """Four training pictures, one for validation, one for testing, two with coarse masks alone; labelIds everywhere."""
    root = tmp_path / "cityscapes"
    for split, names in {"train": TRAIN, "val": VAL, "test": ["berlin_000000_000019"], "train_extra": EXTRA}.items():
        kind = "gtCoarse" if split == "train_extra" else "gtFine"
        for name in names:
            folder = root / "leftImg8bit" / split / name.split("_")[0]
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 8)).save(folder / f"{name}_leftImg8bit.png")
            write_mask(root, kind, split, name, "labelIds")
            Image.new("RGBA", (16, 8)).save(root / kind / split / name.split("_")[0] / f"{name}_{kind}_color.png")
    return root


def open_tree(root, **settings):
    return open_data(CityscapesConfig(root=str(root), **settings))


def names(source, split: str) -> list[str]:
    return [name.removesuffix("_leftImg8bit") for name in source.lists[split].names]


def counts(source) -> dict[str, int]:
    return {name: len(pictures) for name, pictures in source.lists.items()}


def test_all_fine_masks_and_coarse_pictures_as_unlabeled(tree):
    source = open_tree(tree)
    assert counts(source) == {"labeled": 4, "unlabeled": 2, "train": 4, "val": 1}
    assert names(source, "labeled") == TRAIN and names(source, "unlabeled") == EXTRA
    assert not source.lists["unlabeled"].has_masks
    assert recognise_layout(str(tree)) == "cityscapes"
    assert load_config([], {"data.root": str(tree)}).data.name == "cityscapes"


def test_there_are_nineteen_classes_and_each_label_id_finds_its_own(tree):
    source = open_tree(tree)
    assert len(source.class_names) == 19 and source.class_names[13] == "car"
    assert source.palette[13].tolist() == [0, 0, 142]
    path = tree / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
    Image.fromarray(np.array([[*range(34), 255]], np.uint8)).resize((35, 8), Image.Resampling.NEAREST).save(path)
    Image.new("RGB", (35, 8)).save(tree / "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png")
    expected = {label_id: index for index, (_, label_id, _) in enumerate(CLASSES)}
    assert source.lists["labeled"].mask(0)[0].tolist() == [expected.get(i, 255) for i in [*range(34), 255]]


def test_label_train_ids_serve_where_there_are_no_label_ids(tree):
    picture = TRAIN[1]
    write_mask(tree, "gtFine", "train", picture, "labelTrainIds", value=3)
    assert open_tree(tree).lists["labeled"].mask(1)[0, 0] == 0  # road: labelIds, which the set comes with, go first
    (tree / f"gtFine/train/aachen/{picture}_gtFine_labelIds.png").unlink()
    assert open_tree(tree).lists["labeled"].mask(1)[0, 0] == 3


@pytest.mark.parametrize(
    ("ids", "value", "message"), [("labelIds", 40, "values 40"), ("labelTrainIds", 19, "values 19")]
)
def test_a_value_that_is_no_id_is_named_with_its_file(tree, ids, value, message):
    (tree / f"gtFine/train/zurich/{TRAIN[3]}_gtFine_labelIds.png").unlink()
    write_mask(tree, "gtFine", "train", TRAIN[3], ids, value)
    with pytest.raises(UserError, match=rf"{TRAIN[3]}_gtFine_{ids}\.png: mask {message} \(128 pixels\)"):
        open_tree(tree).check_labels()


FORMS = {
    "UniMatch": "leftImg8bit/train/{city}/{name}_leftImg8bit.png gtFine/train/{city}/{name}_gtFine_labelTrainIds.png",
    "U2PL": "leftImg8bit/train/{city}/{name}_leftImg8bit.png",
    "CPS": "/images/train/{name}.png\t/segmentation/train/{name}_gtFine.png",
    "name": "{name}",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_public_form_gives_the_same_lists_and_hash(tree, tmp_path, form):
    for file, listed in (("labeled.txt", TRAIN[2:0:-1]), ("unlabeled.txt", [TRAIN[3], TRAIN[0]])):
        lines = [FORMS[form].format(name=name, city=name.split("_")[0]) for name in listed]
        (tmp_path / file).write_text("\n".join(lines))
    source = open_tree(tree, labeled=str(tmp_path))
    assert counts(source) == {"labeled": 2, "unlabeled": 2, "train": 4, "val": 1}
    assert names(source, "labeled") == TRAIN[2:0:-1] and names(source, "unlabeled") == [TRAIN[3], TRAIN[0]]
    assert source.list_hash == "8ddb545f1938"


def test_the_unlabeled_list_beside_is_found_by_its_name_or_else_the_rest_is_taken(tree, tmp_path):
    labeled = tmp_path / "train_aug_labeled_1-4.txt"
    labeled.write_text(TRAIN[0])
    assert names(open_tree(tree, labeled=str(labeled)), "unlabeled") == TRAIN[1:]
    (tmp_path / "train_aug_unlabeled_1-4.txt").write_text(TRAIN[2])
    assert names(open_tree(tree, labeled=str(labeled)), "unlabeled") == [TRAIN[2]]
    assert names(open_tree(tree, labeled=str(labeled), unlabeled="all"), "unlabeled") == TRAIN[1:] + EXTRA
    assert names(open_tree(tree, labeled=str(labeled), unlabeled="train_extra"), "unlabeled") == EXTRA


def test_coarse_masks_train_where_a_list_asks_for_them_and_are_never_evaluated(tree, tmp_path):
    write_mask(tree, "gtCoarse", "train", TRAIN[0], "labelIds", value=8)
    listed = [f"/images/train/{TRAIN[0]}.png\t/x/{TRAIN[0]}_gtCoarse.png", f"/images/train_extra/{EXTRA[0]}.png"]
    (tmp_path / "labeled.txt").write_text("\n".join(listed))
    source = open_tree(tree, labeled=str(tmp_path), unlabeled="all")
    assert [source.lists["labeled"].mask(i)[0, 0] for i in range(2)] == [1, 0]
    assert names(source, "unlabeled") == [*TRAIN[1:], EXTRA[1]]
    assert names(source, "train") == [TRAIN[0], EXTRA[0], *TRAIN[1:]]


def test_val_and_test_can_be_lists(tree, tmp_path):
    (tmp_path / "dev.txt").write_text(TRAIN[3])
    (tmp_path / "mine.txt").write_text("\n".join(TRAIN[:2]))
    source = open_tree(tree, labeled=str(tmp_path / "mine.txt"), val=str(tmp_path / "dev.txt"), test="val")
    assert counts(source) == {"labeled": 2, "unlabeled": 1, "train": 3, "val": 1, "test": 1}
    with pytest.raises(UserError, match="1 pictures are both in the labeled and in the val list"):
        open_tree(tree, val=str(tmp_path / "dev.txt"))


def test_what_is_missing_is_named(tree, tmp_path):
    listed = tmp_path / "labeled.txt"
    listed.write_text(f"{TRAIN[0]}\nulm_000009_000019\n")
    with pytest.raises(
        UserError, match=r"labeled\.txt line 2: no picture ulm_000009_000019_leftImg8bit\.png in .*extra"
    ):
        open_tree(tree, labeled=str(listed))
    with pytest.raises(
        UserError, match=r"data\.labeled: '1_8' is neither train, val, train_extra, all nor a list file"
    ):
        open_tree(tree, labeled="1_8")
    listed.write_text(TRAIN[0])
    (tree / f"gtFine/train/aachen/{TRAIN[0]}_gtFine_labelIds.png").unlink()
    with pytest.raises(
        UserError, match=r"labeled\.txt line 1: there is no mask for leftImg8bit/train/aachen/aachen_000000"
    ):
        open_tree(tree, labeled=str(listed))
    (tree / "leftImg8bit" / "val").rename(tree / "leftImg8bit" / "other")
    with pytest.raises(
        UserError, match=r"data\.val: the set has no 'val' here, looked for .*leftImg8bit/val/<city>/\*_left"
    ):
        open_tree(tree)
    (tree / "gtFine").rename(tree / "fine")
    with pytest.raises(UserError, match=r"holds no Cityscapes: leftImg8bit/ and gtFine/ are not both there"):
        open_tree(tree)

"""CamVid's layout: its own lists, on a small copy of the layout and, where it is there, on the real set."""

import json

import numpy as np
import pytest
from PIL import Image

from scl_core.data.camvid import CamvidConfig
from scl_core.data.sources import open_data, recognise_layout
from scl_core.errors import UserError


@pytest.fixture
def small_camvid(tmp_path):
    """CamVid's layout with six training pictures, one for validation and one for testing, two classes."""
    numbers = {"train": range(6), "val": [6], "test": [7]}
    for split, members in numbers.items():
        for folder in ("images", "masks"):
            (tmp_path / split / folder).mkdir(parents=True)
        for number in members:
            Image.new("RGB", (48, 36), (number, 0, 0)).save(tmp_path / split / "images" / f"{number}.jpg")
            Image.new("L", (48, 36), number % 2).save(tmp_path / split / "masks" / f"{number}.png")
    classes = [{"name": "Sky", "color": [128, 128, 128]}, {"name": "Road", "color": [128, 64, 128]}]
    (tmp_path / "camvid.json").write_text(json.dumps({"classes": classes}))
    lines = {split: [f"{split}/images/{n}.jpg {split}/masks/{n}.png\n" for n in ns] for split, ns in numbers.items()}
    (tmp_path / "splits" / "seed_1" / "1_3").mkdir(parents=True)
    for split, text in lines.items():
        (tmp_path / "splits" / f"{split}.txt").write_text("".join(text))
    (tmp_path / "splits" / "seed_1" / "1_3" / "labeled.txt").write_text("".join(lines["train"][:2]))
    (tmp_path / "splits" / "seed_1" / "1_3" / "unlabeled.txt").write_text("".join(lines["train"][2:]))
    return tmp_path


def open_camvid(root, **settings):
    return open_data(CamvidConfig(root=str(root), **settings))


def counts(source) -> dict[str, int]:
    return {name: len(pictures) for name, pictures in source.lists.items()}


def test_a_subset_and_its_size(small_camvid):
    source = open_camvid(small_camvid, labeled="seed_1/1_3")
    assert counts(source) == {"labeled": 2, "unlabeled": 4, "val": 1, "test": 1, "train": 6}
    assert source.class_names == ("Sky", "Road") and source.palette[1].tolist() == [128, 64, 128]
    assert source.lists["labeled"].input(0).shape == (180, 240, 3)
    assert source.lists["val"].mask(0).shape == (36, 48)
    assert open_camvid(small_camvid, labeled="seed_1/1_3", height=None, width=None).lists["val"].input(0).shape == (
        36,
        48,
        3,
    )


def test_masks_of_the_unlabeled_list_are_ignored_even_when_absent(small_camvid):
    (small_camvid / "train" / "masks" / "4.png").unlink()
    source = open_camvid(small_camvid, labeled="seed_1/1_3")
    assert not source.lists["unlabeled"].has_masks
    assert source.lists["train"].names == ("0", "1", "2", "3", "5")


def test_all_of_train_and_a_list_of_ones_own(small_camvid):
    assert counts(open_camvid(small_camvid, labeled="train")) == {"labeled": 6, "val": 1, "test": 1, "train": 6}
    mine = small_camvid / "mine.txt"
    mine.write_text("train/images/5.jpg train/masks/5.png\n")
    source = open_camvid(small_camvid, labeled=str(mine))
    assert source.lists["labeled"].names == ("5",) and source.lists["unlabeled"].names == ("0", "1", "2", "3", "4")


def test_an_unknown_subset_names_those_there_are(small_camvid):
    with pytest.raises(UserError, match=r"data\.labeled: '1_8' is neither .* there are seed_1/1_3 and train"):
        open_camvid(small_camvid)


def test_the_layout_is_recognised(small_camvid):
    assert recognise_layout(str(small_camvid)) == "camvid"
    (small_camvid / "camvid.json").unlink()
    with pytest.raises(UserError, match=r"holds no CamVid: camvid\.json and splits/ are not both there"):
        open_camvid(small_camvid)


@pytest.mark.camvid
def test_the_real_set_has_its_counts_classes_and_hash(camvid_root):
    source = open_camvid(camvid_root)
    assert counts(source) == {"labeled": 46, "unlabeled": 321, "val": 101, "test": 233, "train": 367}
    assert source.class_names == (
        *("Sky", "Building", "Pole", "Road", "Pavement", "Tree"),
        *("SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
    )
    assert source.palette[3].tolist() == [128, 64, 128]
    assert source.list_hash == "259cef8622e4"
    assert recognise_layout(str(camvid_root)) == "camvid"


@pytest.mark.camvid
def test_the_real_sets_draws_differ_and_nest(camvid_root):
    names = {
        key: set(open_camvid(camvid_root, labeled=key).lists["labeled"].names) for key in ("1_8", "seed_1/1_8", "1_4")
    }
    assert len(names["1_8"]) == len(names["seed_1/1_8"]) == 46
    assert names["1_8"] != names["seed_1/1_8"] and names["1_8"] < names["1_4"]


@pytest.mark.camvid
def test_the_real_masks_are_read_at_both_sizes(camvid_root):
    source = open_camvid(camvid_root, labeled="1_30")
    source.check_labels()
    assert source.lists["val"].mask(0).shape == (360, 480)
    assert set(np.unique(source.lists["val"].label(0))) <= {*range(11), 255}

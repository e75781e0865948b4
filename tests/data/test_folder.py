"""A folder of one's own: found by a scan or by lists, with the messages a newcomer meets."""

import numpy as np
import pytest
from PIL import Image

from scl_core.data.folder import FolderConfig, hold_out, scan_pictures
from scl_core.data.lists import Entry
from scl_core.data.sources import open_data, recognise_layout
from scl_core.errors import UserError


def open_folder(root, seed: int = 0, **settings):
    return open_data(FolderConfig(root=str(root), **settings), seed)


def counts(source) -> dict[str, int]:
    return {name: len(pictures) for name, pictures in source.lists.items()}


def test_a_scan_splits_by_masks_and_holds_some_out(make_tiny_folder, tmp_path):
    source = open_folder(make_tiny_folder(tmp_path / "d", labeled=10, unlabeled=5), val_fraction=0.2)
    assert counts(source) == {"labeled": 8, "unlabeled": 5, "train": 8, "val": 2}
    assert source.class_names == ("background", "road", "disc")
    assert source.palette[1].tolist() == [120, 120, 120]
    assert set(source.lists["labeled"].names).isdisjoint(source.lists["val"].names)
    assert source.lists["unlabeled"].names == ("010", "011", "012", "013", "014")
    assert set(np.unique(source.lists["labeled"].label(0))) <= {0, 1, 2, 255}
    source.check_labels()


def test_the_held_out_share_depends_on_the_seed_alone(make_tiny_folder, tmp_path):
    root = make_tiny_folder(tmp_path / "d", labeled=10)
    draws = {open_folder(root, seed, val_fraction=0.3).lists["val"].names for seed in (0, 0, 1, 2)}
    assert 2 <= len(draws) <= 3
    assert open_folder(root, 0).list_hash == open_folder(root, 0).list_hash != open_folder(root, 1).list_hash


@pytest.mark.parametrize(("count", "fraction", "held"), [(2, 0.01, 1), (2, 0.9, 1), (10, 0.25, 2), (100, 0.1, 10)])
def test_hold_out_leaves_something_on_either_side(count, fraction, held):
    kept, out = hold_out([Entry(str(i)) for i in range(count)], fraction, seed=3)
    assert len(out) == held and len(kept) == count - held
    assert sorted(int(entry.image) for entry in kept + out) == list(range(count))
    assert [int(entry.image) for entry in kept] == sorted(int(entry.image) for entry in kept)


def test_one_labeled_picture_cannot_be_held_out(make_tiny_folder, tmp_path):
    root = make_tiny_folder(tmp_path / "d", labeled=1)
    with pytest.raises(UserError, match="1 labeled picture is too few to hold one out"):
        open_folder(root)
    assert counts(open_folder(root, val_fraction=0.0)) == {"labeled": 1, "unlabeled": 4, "train": 1}


def test_lists_take_the_place_of_the_scan(make_tiny_folder, tmp_path):
    root = make_tiny_folder(tmp_path / "d", labeled=6, unlabeled=2)
    (root / "labeled.txt").write_text("images/000.png masks/000.png\n/images/001.png\t/masks/001.png\n")
    (root / "val.txt").write_text("images/002.png masks/002.png\n")
    (root / "elsewhere.txt").write_text("images/003.png masks/003.png\n")
    source = open_folder(root, test="elsewhere.txt")
    assert source.lists["labeled"].names == ("000", "001")
    assert source.lists["val"].names == ("002",) and source.lists["test"].names == ("003",)
    assert source.lists["unlabeled"].names == ("004", "005", "006", "007")
    assert source.lists["train"].names == ("000", "001", "004", "005")
    assert not source.lists["unlabeled"].has_masks


def test_lists_need_no_images_folder(make_tiny_folder, tmp_path):
    root = make_tiny_folder(tmp_path / "d")
    (root / "images").rename(root / "pictures")
    (root / "labeled.txt").write_text("".join(f"pictures/{i:03d}.png masks/{i:03d}.png\n" for i in range(3)))
    assert counts(open_folder(root)) == {"labeled": 2, "train": 2, "val": 1}


def test_a_named_list_that_is_not_there(tiny_folder):
    with pytest.raises(UserError, match=r"data\.val: there is no list file my_val\.txt"):
        open_folder(tiny_folder, val="my_val.txt")


def test_sub_folders_and_other_suffixes_are_found(tmp_path):
    (tmp_path / "images" / "day").mkdir(parents=True)
    (tmp_path / "masks" / "day").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "day" / "a.JPG", "JPEG")
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "b.webp")
    (tmp_path / "images" / "notes.txt").touch()
    Image.new("L", (4, 4)).save(tmp_path / "masks" / "day" / "a.png")
    Image.new("L", (4, 4)).save(tmp_path / "masks" / "a.png")
    assert scan_pictures(tmp_path) == [Entry("images/b.webp"), Entry("images/day/a.JPG", "masks/day/a.png")]


def test_a_picture_with_two_masks_is_refused(tiny_folder):
    Image.new("L", (64, 48)).save(tiny_folder / "masks" / "001.bmp")
    with pytest.raises(UserError, match=r"images/001\.png, masks/001\.bmp, masks/001\.png share one name"):
        open_folder(tiny_folder)


def test_missing_classes_show_an_example_and_the_values_found(tiny_folder):
    (tiny_folder / "classes.txt").unlink()
    with pytest.raises(
        UserError, match=r"no classes\.txt.*the first 4 masks hold the values \[0, 1, 2\].*road 128 64 128"
    ):
        open_folder(tiny_folder)


def test_too_few_classes_name_file_and_values(tiny_folder):
    (tiny_folder / "classes.txt").write_text("background\nroad\n")
    with pytest.raises(UserError, match=r"masks/00\d\.png: mask values 2 \(\d+ pixels\) are no class: with 2 classes"):
        open_folder(tiny_folder).check_labels()


def test_a_folder_without_any_mask_is_refused(make_tiny_folder, tmp_path):
    with pytest.raises(UserError, match="no picture has a mask"):
        open_folder(make_tiny_folder(tmp_path / "d", labeled=0))


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.md").touch()
    with pytest.raises(UserError, match="has neither an images folder nor a labeled.txt"):
        open_folder(tmp_path)
    with pytest.raises(UserError, match=r"layout of .* is not known; looked for camvid\.json with splits/"):
        recognise_layout(str(tmp_path))


def test_the_layout_is_recognised(tiny_folder):
    assert recognise_layout(str(tiny_folder)) == "folder"

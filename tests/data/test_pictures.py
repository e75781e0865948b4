"""Lists of picture files: sizes, the memory they may use, names, and the text that fixes what was used."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from scl_core.data.files import FileSettings, input_size, open_lists, open_root
from scl_core.data.lists import Entry
from scl_core.data.pictures import FileList, PictureCache
from scl_core.errors import UserError

RNG = np.random.default_rng(0)


@pytest.fixture
def root(tmp_path):
    """Six pictures of 20 x 30 pixels (height x width) with masks of classes 0 to 2."""
    for number in range(6):
        Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        Image.fromarray(RNG.integers(0, 3, (20, 30), dtype=np.uint8)).save(tmp_path / f"{number}_mask.png")
    return tmp_path


def entry(number: int) -> Entry:
    return Entry(f"{number}.png", f"{number}_mask.png", f"list.txt line {number + 1}")


def file_list(root, entries, size=None, cache_bytes=10**6, num_classes=3) -> FileList:
    return FileList(root, entries, num_classes, size, PictureCache(cache_bytes), 10**6)


def opened(root, size=(10, 15), **entries):
    config = FileSettings("files", str(root), *(size or (None, None)))
    return open_lists(config, ("a", "b", "c"), np.zeros((3, 3), np.uint8), entries)


def test_own_size_and_input_size(root):
    pictures = file_list(root, [entry(0)], size=(10, 15))
    assert pictures.image(0).shape == (20, 30, 3) and pictures.mask(0).shape == (20, 30)
    assert pictures.input(0).shape == (10, 15, 3) and pictures.label(0).shape == (10, 15)
    own = file_list(root, [entry(0)])
    assert np.array_equal(own.input(0), own.image(0)) and np.array_equal(own.label(0), own.mask(0))


def test_what_is_kept_is_not_decoded_again_and_cannot_be_changed(root):
    pictures = file_list(root, [entry(0)])
    image, label = pictures.input(0), pictures.label(0)
    (root / "0.png").unlink()
    (root / "0_mask.png").unlink()
    assert pictures.input(0) is image and pictures.label(0) is label
    with pytest.raises(ValueError):
        image[0, 0] = 0


def test_memory_stays_under_its_limit(root):
    one_picture = 20 * 30 * 3
    pictures = file_list(root, [entry(i) for i in range(4)], cache_bytes=2 * one_picture + 5)
    for i in range(4):
        pictures.input(i)
    assert pictures.cache.used_bytes == 2 * one_picture
    assert pictures.input(0) is pictures.input(0)
    assert pictures.input(3) is not pictures.input(3)
    assert np.array_equal(pictures.input(3), pictures.image(3))


def test_a_mask_of_another_size_names_both_sizes(root):
    Image.new("L", (30, 21)).save(root / "0_mask.png")
    with pytest.raises(UserError, match=r"0_mask\.png: the mask is 30 x 21 pixels but its picture 0\.png is 30 x 20"):
        file_list(root, [entry(0)], size=(10, 15)).label(0)


def test_a_mask_is_not_turned_with_its_picture(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(root / "0.png", exif=exif)
    with pytest.raises(UserError, match=r"the mask is 30 x 20 pixels but its picture 0\.png is 20 x 30"):
        file_list(root, [entry(0)]).mask(0)


def test_a_file_that_vanished_after_indexing_is_named(root):
    source = opened(root, labeled=[entry(0), entry(1)])
    (root / "1.png").unlink()
    with pytest.raises(UserError, match=r"1\.png: the file is not there"):
        source.lists["labeled"].input(1)


def test_names_are_stems_and_longer_where_stems_repeat(root):
    paths = ["x/1.jpg", "x/2.jpg", "y/2.jpg", "z/3.jpg", "z/3.png"]
    assert file_list(root, [Entry(path) for path in paths]).names == ("1", "x/2", "y/2", "z/3.jpg", "z/3.png")


def test_masks_of_unlabeled_pictures_are_out_of_reach_but_kept_in_train(root):
    (root / "2_mask.png").unlink()
    source = opened(root, labeled=[entry(0)], unlabeled=[entry(0), entry(1), entry(2), Entry("3.png")])
    unlabeled = source.lists["unlabeled"]
    assert not unlabeled.has_masks and unlabeled.lines == ["0.png", "1.png", "2.png", "3.png"]
    for read in (unlabeled.mask, unlabeled.label):
        with pytest.raises(UserError, match=r"1\.png: .* no mask"):
            read(1)
    assert source.lists["train"].names == ("0", "1")
    assert source.lists["train"].mask(1).shape == (20, 30)


def test_a_picture_both_trained_and_evaluated_on_is_refused(root):
    with pytest.raises(
        UserError, match=r"1 pictures are both in the unlabeled and in the test list.*1\.png \(list\.txt line 2\)"
    ):
        opened(root, labeled=[entry(0)], unlabeled=[entry(1)], test=[entry(2), entry(1)])


def test_missing_files_and_masks_are_found_when_opening(root):
    (root / "1_mask.png").unlink()
    with pytest.raises(UserError, match=r"list\.txt line 2: no mask 1_mask\.png"):
        opened(root, labeled=[entry(0), entry(1)])
    with pytest.raises(UserError, match=r"list\.txt line 1: 0\.png has no mask"):
        opened(root, labeled=[entry(0).without_mask()])


def test_check_labels_finds_the_wrong_mask_before_training(root):
    Image.new("L", (30, 20), 7).save(root / "2_mask.png")
    source = opened(root, labeled=[entry(i) for i in range(4)])
    source.check_labels(limit=2)
    with pytest.raises(UserError, match=r"2_mask\.png: mask values 7 \(600 pixels\)"):
        source.check_labels()


def test_resolved_text_and_hash(root, tmp_path):
    source = opened(root, labeled=[entry(0)], unlabeled=[entry(1).without_mask()], val=[entry(2)])
    text = source.resolved_text()
    assert text == (
        "data files\nclasses a, b, c\n[labeled] 1\n0.png\t0_mask.png\n[unlabeled] 1\n1.png\n"
        "[train] 1\n0.png\t0_mask.png\n[val] 1\n2.png\t2_mask.png\n"
    )
    assert str(tmp_path) not in text
    assert source.list_hash == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert opened(root, labeled=[entry(1)], val=[entry(2)]).list_hash != source.list_hash


def test_a_missing_list_names_those_there_are(root):
    with pytest.raises(UserError, match="files data has no 'test' list; it has labeled, train"):
        opened(root, labeled=[entry(0)]).pictures("test")


def test_one_side_of_the_input_size_alone_is_refused():
    with pytest.raises(UserError, match="data.height and data.width go together"):
        input_size(FileSettings(height=100))


def test_the_root_must_be_a_folder_with_something_in_it(tmp_path):
    for root, message in ((None, "is not set"), ("", "is not set"), (str(tmp_path / "no"), "no does not exist")):
        with pytest.raises(UserError, match=message):
            open_root(root)
    with pytest.raises(UserError, match="is an empty folder"):
        open_root(str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is not a folder"):
        open_root(str(tmp_path / "file"))

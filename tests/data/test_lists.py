"""List files in the forms that public splits use, and the messages for those that cannot be used."""

import pytest

from scl_core.data import lists
from scl_core.data.lists import Entry, check_files, missing_files, read_list, require_masks
from scl_core.errors import UserError


def written(folder, text: str) -> str:
    path = folder / "labeled.txt"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        "images/a.jpg masks/a.png\nimages/b.jpg masks/b.png\n",
        "images/a.jpg\tmasks/a.png\nimages/b.jpg\tmasks/b.png",
        "/images/a.jpg\t/masks/a.png\r\n/images/b.jpg\t/masks/b.png\r\n",
        "\ufeffimages/a.jpg   masks/a.png  \n\n  images/b.jpg masks/b.png\n\n",
    ],
)
def test_public_forms_are_read(tmp_path, text):
    entries = read_list(written(tmp_path, text))
    assert [(entry.image, entry.mask) for entry in entries] == [
        ("images/a.jpg", "masks/a.png"),
        ("images/b.jpg", "masks/b.png"),
    ]


def test_a_picture_alone_has_no_mask_and_spaces_need_a_tab(tmp_path):
    entries = read_list(written(tmp_path, "a.jpg\nmy photo.jpg\tmy mask.png\n"))
    assert (entries[0].image, entries[0].mask) == ("a.jpg", None)
    assert (entries[1].image, entries[1].mask) == ("my photo.jpg", "my mask.png")
    assert entries[1].origin.endswith("labeled.txt line 2")
    assert entries[1].line == "my photo.jpg\tmy mask.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labeled\.txt: the list is empty"),
        ("\n \n", r"labeled\.txt: the list is empty"),
        ("a.jpg a.png 3\n", r"labeled\.txt line 1: 3 columns"),
        ("a.jpg a.png\n\nb.jpg b.png\na.jpg c.png\n", r"labeled\.txt line 4: a\.jpg is already in line 1"),
        ("../secret.jpg\n", r"labeled\.txt line 1: \.\./secret\.jpg leads out of the data's root"),
    ],
)
def test_bad_lists_name_file_and_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_list(written(tmp_path, text))


def test_a_list_that_is_missing_or_binary_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.txt: the list cannot be read \(No such file"):
        read_list(tmp_path / "none.txt")
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(UserError, match=r"picture\.txt: not a text file"):
        read_list(tmp_path / "picture.txt")


def test_the_first_missing_file_is_named_with_list_line_and_path(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    (tmp_path / "a.png").touch()
    entries = read_list(written(tmp_path, "images/a.jpg a.png\nimages/b.jpg a.png\nimages/a.JPG other/a.png\n"))
    assert missing_files(tmp_path, entries) == {"images/b.jpg", "images/a.JPG", "other/a.png"}
    with pytest.raises(UserError, match=r"labeled\.txt line 2: no picture images/b\.jpg in .* \(and 2 more files"):
        check_files(tmp_path, entries)
    with pytest.raises(UserError, match=r"labeled\.txt line 9: no mask other/a\.png"):
        check_files(tmp_path, [Entry("images/a.jpg", "other/a.png", "labeled.txt line 9")])
    check_files(tmp_path, entries[:1])


def test_a_folder_in_the_place_of_a_picture_is_missing(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    assert missing_files(tmp_path, [Entry("a.jpg")]) == {"a.jpg"}


def test_a_labeled_line_without_a_mask_is_named(tmp_path):
    with pytest.raises(UserError, match=r"labeled\.txt line 2: b\.jpg has no mask"):
        require_masks(read_list(written(tmp_path, "a.jpg a.png\nb.jpg\n")))


def test_twenty_thousand_lines_scan_each_folder_once(tmp_path, monkeypatch):
    folders = [tmp_path / "images", tmp_path / "masks"]
    for folder, suffix in zip(folders, ("jpg", "png"), strict=True):
        folder.mkdir()
        for number in range(0, 20_000, 100):
            (folder / f"{number:05d}.{suffix}").touch()
    text = "".join(f"images/{n:05d}.jpg masks/{n:05d}.png\n" for n in range(20_000))
    scanned = []
    scandir = lists.os.scandir
    monkeypatch.setattr(lists.os, "scandir", lambda folder: scanned.append(folder) or scandir(folder))
    entries = read_list(written(tmp_path, text))
    assert len(entries) == 20_000
    assert len(missing_files(tmp_path, entries)) == 2 * 19_800
    assert sorted(scanned) == folders

"""A picture that is trained on and evaluated on under two names is told; nothing else is."""

import shutil

from scl_core.data import leaks
from scl_core.data.folder import FolderConfig
from scl_core.data.generated import ScenesConfig
from scl_core.data.leaks import leak_words
from scl_core.data.sources import open_data


def test_a_copy_in_the_unlabeled_list_is_named(tiny_folder):
    (tiny_folder / "val.txt").write_text("images/003.png masks/003.png\n")
    config = FolderConfig(root=str(tiny_folder))
    assert leak_words(open_data(config)) is None
    shutil.copy(tiny_folder / "images" / "003.png", tiny_folder / "images" / "other name.png")
    words = leak_words(open_data(config))
    assert "1 training pictures are copies" in words
    assert "other name.png (unlabeled), which equals" in words and "images/003.png (val)" in words


def test_files_of_other_sizes_are_not_read(tiny_folder, monkeypatch):
    sizes = {path.stat().st_size for path in (tiny_folder / "images").iterdir()}
    assert len(sizes) > 1  # so that there is something to leave unread
    (tiny_folder / "images" / "larger.png").write_bytes((tiny_folder / "images" / "000.png").read_bytes() + b"\0" * 999)
    read = []
    monkeypatch.setattr(leaks, "content", lambda place: read.append(place) or place)
    assert leak_words(open_data(FolderConfig(root=str(tiny_folder)))) is None
    assert not any("larger" in place for place in read)


def test_scenes_have_no_files_and_a_lost_file_is_no_leak(tiny_folder):
    assert leak_words(open_data(ScenesConfig(height=16, width=16, labeled=1, unlabeled=2, val=1, test=1))) is None
    source = open_data(FolderConfig(root=str(tiny_folder)))
    for path in (tiny_folder / "images").iterdir():
        path.unlink()
    assert leak_words(source) is None

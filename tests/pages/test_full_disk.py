"""A disk without room, on the pages that write: one sentence that says what to do, and nothing is lost."""

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from PIL import Image
from skimage import data

from scl_core import demo, jobs
from scl_core.runs import Notes, RunFolder, read_notes, write_notes
from scl_core.runs.pictures import kept_pictures
from tests.fake_runs import write_run
from tests.pages.conftest import run, texts
from tests.small_disk import fill, small_disk
from tests.tiny import wait_for

pytestmark = pytest.mark.fault
FULL = "the disk is full: make room, then try again"
COMPARE, OWN, SIMILARITY = "pages/runs/compare.py", "pages/images/upload.py", "pages/method/similarity.py"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of 24 MB that the app takes for its runs."""
    with small_disk(tmp_path, "24m") as folder:
        monkeypatch.setenv("SCL_RUNS", str(folder))
        st.cache_data.clear()
        yield folder


@pytest.fixture
def copied(runs: Path, small_run: Path) -> Path:
    """The small run on that disk."""
    return Path(shutil.copytree(small_run, runs / "one"))


def press(app, label: str):
    next(button for button in app.button if button.label == label).click()
    return run(app)


def photo() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(data.astronaut()[:60, :80]).save(buffer, format="PNG")
    return buffer.getvalue()


def test_an_upload_that_cannot_be_kept_is_shown_all_the_same(copied, runs, visit):
    filler = fill(runs)
    app = visit(OWN)
    app.file_uploader(key="own_file").upload("photo.png", photo(), mime_type="image/png").run()
    assert not app.exception and FULL in texts(app.text) and not app.error
    assert app.dataframe[0].value["Share"].sum() == pytest.approx(100) and "file" not in app.query_params
    assert kept_pictures(runs) == []
    filler.unlink()
    run(app)
    assert FULL not in texts(app.text) and [app.query_params["file"]] == kept_pictures(runs)


def test_an_upload_of_the_method_pages_that_cannot_be_kept_leaves_the_page(copied, runs, visit):
    fill(runs)
    app = visit(SIMILARITY, run="one", pictures="chosen", from_a="my files")
    app.file_uploader(key="upload_a").upload("photo.png", photo(), mime_type="image/png").run()
    assert not app.exception and FULL in texts(app.code) and "Give two pictures" in texts(app.info)
    app.selectbox(key="pictures").set_value("data").run()
    assert not app.error and app.metric


def test_a_full_folder_for_temporary_files_is_one_sentence(copied, runs, visit, monkeypatch):
    (runs / "tmp").mkdir()
    fill(runs)
    monkeypatch.setattr(tempfile, "tempdir", str(runs / "tmp"))
    app = visit(OWN)
    app.file_uploader(key="own_file").upload("photo.png", photo(), mime_type="image/png").run()
    assert not app.exception and "photo.png cannot be laid aside" in texts(app.code) and FULL in texts(app.code)


def test_notes_that_find_no_room_leave_the_old_ones(runs, visit):
    folder = write_run(runs, "one")
    write_notes(folder, Notes(("old",), "first"))
    filler = fill(runs)
    app = visit(run="one")
    app.text_area[0].input("second")
    press(app, "Save")
    assert "not saved" in texts(app.error) and FULL in texts(app.code) and "Errno" not in texts(app.code)
    assert read_notes(folder) == Notes(("old",), "first") and app.text_area[0].value == "second"
    filler.unlink()
    press(app, "Save")
    assert not app.error and read_notes(folder).note == "second"


def test_a_demo_that_finds_no_room_leaves_nothing_half_copied(runs, visit):
    (runs / "taken").write_bytes(bytes(20 << 20))
    app = press(visit(), "Look at the recorded demo")
    assert "demo did not start" in texts(app.error) and FULL in texts(app.code) and "Errno" not in texts(app.code)
    assert sorted(os.listdir(runs)) == ["taken"]
    (runs / "taken").unlink()
    assert sorted(demo.copy_recorded(runs)) == ["demo-scl-recorded", "demo-supervised-recorded"]


def test_a_job_that_finds_no_room_is_not_started(copied, runs, visit, monkeypatch):
    started = []
    real = jobs.subprocess.Popen
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda *a, **k: started.append(real(*a, **k)) or started[-1])
    app = visit(COMPARE, runs="one")
    fill(runs)
    app.button(key="start-evaluate-one").click().run()
    assert not app.exception and "cannot be started" in texts(app.error) and FULL in texts(app.code)
    assert all(child.poll() is not None for child in started), "a job without a record could never be cancelled"
    assert app.button(key="start-evaluate-one") and app.dataframe


def test_a_job_that_finds_no_room_to_write_says_so_and_keeps_the_old_scores(copied, runs, visit):
    stored = RunFolder(copied)
    before, files = list(stored.evaluations()), sorted(os.listdir(copied / "evaluations"))
    jobs.start_job(stored, "evaluate", jobs.job_command("evaluate", copied, "--split", "test", "--device", "cpu"))
    filler = fill(runs)
    wait_for(lambda: not jobs.read_job(stored, "evaluate").running, seconds=120)
    app = visit(COMPARE, runs="one")
    assert "ended without a result" in texts(app.error) and "disk is full: make room" in texts(app.code)
    assert list(stored.evaluations()) == before and sorted(os.listdir(copied / "evaluations")) == files
    filler.unlink()
    app.button(key="forget-evaluate-one").click().run()
    assert not app.error and app.button(key="start-evaluate-one")

"""Long work in the page: it tells how far it is, a click ends it, the rest of the page stays, and it begins again."""

from collections.abc import Callable
from contextlib import contextmanager

import pytest
import streamlit as st

from pages.shared import long_work, prediction_data
from tests.pages.conftest import checked, texts
from tests.pages.test_spoilt_runs import move_to_folder

HEALTH, PAIRS, PLAYGROUND, COMPARE, OTHERS = (
    f"pages/{name}.py" for name in ("runs/health", "method/pairs", "method/playground", "runs/compare", "method/others")
)


@pytest.fixture
def click_cancel(monkeypatch) -> Callable[[str, int], list]:
    """`click_cancel("pair_study", 3)`: a visitor clicks Cancel at the third word of that work, once; the words."""
    st.cache_resource.clear()
    real = long_work.watched

    def arrange(name: str, step: int) -> list[tuple[int, int]]:
        told: list[tuple[int, int]] = []

        @contextmanager
        def watched(which, key, words):
            with real(which, key, words) as tell:

                def told_and_clicked(done: int, total: int) -> None:
                    tell(done, total)
                    if which == name:
                        told.append((done, total))
                        if len(told) == step:
                            long_work._cancel(which, key)
                            st.rerun()

                yield told_and_clicked

        monkeypatch.setattr(long_work, "watched", watched)
        return told

    return arrange


def start_again(app, name: str):
    return checked(app.button(key=f"again_{name}").click().run())


def labels(app) -> list[str]:
    return [item.label for item in app.metric]


def test_the_draws_of_pairs_are_cancelled_and_begun_again(copy_run, visit, click_cancel):
    copy_run("one")
    told = click_cancel("pair_study", 7)
    app = visit(PAIRS, run="one")
    assert told == [(done, 107) for done in range(1, 8)], "an exact loss, 100 draws, 6 passes through the network"
    assert "Drawing pairs many times: cancelled." in texts(app.text) and "Exact" not in labels(app)
    assert "Pixels with more than one class" in labels(app), "the rest of the page stays"
    start_again(app, "pair_study")
    assert told[7:] == [(done, 107) for done in range(1, 108)]
    assert {"Exact", "Cosine over the parameters"} <= set(labels(app)) and "cancelled" not in texts(app.text)


def test_the_gradients_of_pairs_are_cancelled_alone(copy_run, visit, click_cancel):
    copy_run("one")
    told = click_cancel("pair_directions", 2)
    app = visit(PAIRS, run="one", parameters="false")
    assert told == [(1, 21), (2, 21)] and "Comparing gradients: cancelled." in texts(app.text)
    assert "Exact" in labels(app) and "Cosine over the pixels" not in labels(app)
    start_again(app, "pair_directions")
    assert "Cosine over the pixels" in labels(app)


def test_a_health_check_without_its_pictures_tells_the_rest(copy_run, visit, click_cancel):
    move_to_folder(copy_run("one"))
    told = click_cancel("health", 3)
    app = visit(HEALTH, run="one")
    total = told[0][1]
    assert told == [(done, total) for done in (1, 2, 3)] and total > 3
    assert "Comparing pictures: cancelled." in texts(app.text)
    verdicts = [item.value for item in app.subheader]
    assert verdicts[3] == "Lists: – cannot say" and not verdicts[2].endswith("cannot say")
    start_again(app, "health")
    assert app.subheader[3].value != "Lists: – cannot say" and told[-1] == (total, total)


def test_the_checkpoints_of_the_playground_are_cancelled(copy_run, visit, click_cancel):
    copy_run("one")
    told = click_cancel("checkpoints", 1)
    app = visit(PLAYGROUND, run="one")
    tables = len(app.dataframe)
    assert told == [(1, 2)] and "cancelled" in texts(app.text) and "Pixels above the threshold" in labels(app)
    start_again(app, "checkpoints")
    assert len(app.dataframe) == tables + 1


def test_the_pictures_of_the_report_are_cancelled(copy_run, visit, click_cancel):
    copy_run("one")
    told = click_cancel("report", 1)
    app = visit(COMPARE, runs="one")
    checked(app.number_input(key="report_pictures").set_value(3).run())
    assert told == [(1, 3)] and "pictures of the report: cancelled." in texts(app.text)
    start_again(app, "report")
    assert told[1:] == [(1, 3), (2, 3), (3, 3)]
    assert sum(": mIoU " in line for line in texts(app.text).splitlines()) == 3


def test_work_that_fails_leaves_no_bar_behind(copy_run, visit, monkeypatch):
    copy_run("one")

    def refuse(*_):
        raise prediction_data.UserError("no such network")

    monkeypatch.setattr(prediction_data, "predict_listed", refuse)
    app = visit(COMPARE, runs="one")
    checked(app.number_input(key="report_pictures").set_value(1).run())
    assert "No such network." in texts(app.text) and not app.get("progress")


def test_the_time_left_is_that_of_the_mean_step():
    assert long_work.left(0.5, 3, 10) == "" == long_work.left(5.0, 0, 10)
    assert long_work.left(6.0, 3, 10) == ", about 14 s left"

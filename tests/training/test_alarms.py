import pytest

from scl_core.progress import Progress
from scl_core.runs import RunFolder, standing_alarms
from scl_core.training.alarms import Alarms

STEPS = 1000


@pytest.fixture
def run(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    run.begin(0, STEPS)
    return run


def alarms_of(run, unlabeled_from=1):
    return Alarms(run, Progress(STEPS, log=run.path / "log.txt"), STEPS, unlabeled_from)


def evaluated(run, alarms, step, teacher, student):
    for network, score in {"teacher": teacher, "student": student}.items():
        run.append_evaluation(
            {"step": step, "split": "val", "network": network, "mean_iou": score, "per_class_iou": {}}
        )
    alarms.evaluated(step)


def test_a_teacher_that_stays_behind_is_told_once_and_so_is_its_recovery(run):
    alarms = alarms_of(run)
    evaluated(run, alarms, 100, 0.10, 0.30)
    assert not run.alarms()  # once is not staying
    for step in (200, 300):
        evaluated(run, alarms, step, 0.28, 0.31)
    (alarm,) = run.alarms()
    assert (alarm["step"], alarm["kind"], alarm["on"]) == (200, "teacher_behind", True) and "3.0 points" in alarm[
        "text"
    ]
    assert standing_alarms(run.alarms()) == [alarm]
    evaluated(run, alarms, 400, 0.33, 0.32)
    assert standing_alarms(run.alarms()) == [] and "no longer under" in run.alarms()[-1]["text"]
    log = (run.path / "log.txt").read_text()
    assert log.count("alarm: the teacher") == 1 and log.count("alarm over: the teacher") == 1


def test_before_the_unlabeled_part_the_teacher_may_lag(run):
    alarms = alarms_of(run, unlabeled_from=250)
    for step in (100, 200, 300):
        evaluated(run, alarms, step, 0.1, 0.3)
    assert not run.alarms()
    evaluated(run, alarms, 400, 0.1, 0.3)
    assert run.alarms()[0]["step"] == 400


def read(run, alarms, steps, classes):
    for step in steps:
        row = {"step": step, "targets/classes": classes, "labels/classes": 6.0}
        run.append_metrics(row)
        alarms.targets(step, classes, 6.0)


def test_collapse_is_a_fifth_of_the_labels_variety_over_five_readings(run):
    alarms = alarms_of(run)
    read(run, alarms, range(10, 90, 10), 1.0)
    assert not run.alarms()  # a network that has learned nothing yet predicts few classes
    read(run, alarms, range(200, 260, 10), 5.0)
    read(run, alarms, [260, 270, 280], 1.0)
    assert not run.alarms()  # mean 2.6, and 1 + (6 - 1) / 5 is 2
    read(run, alarms, [290], 1.0)
    assert [(row["step"], row["kind"]) for row in standing_alarms(run.alarms())] == [(290, "collapse")]
    read(run, alarms, range(300, 340, 10), 5.0)
    assert standing_alarms(run.alarms()) == []


def test_a_resumed_run_alarms_as_the_uninterrupted_one(run):
    first = alarms_of(run)
    read(run, first, range(200, 250, 10), 5.0)
    read(run, first, [250, 255, 260], 1.0)
    run.begin(260, STEPS)
    read(run, alarms_of(run), [270], 1.0)
    assert [row["step"] for row in run.alarms()] == [270]
    read(run, alarms_of(run), [280], 1.0)
    assert len(run.alarms()) == 1  # it holds already
    run.begin(265, STEPS)
    assert not run.alarms()  # a run that goes on from an earlier step has not met it yet

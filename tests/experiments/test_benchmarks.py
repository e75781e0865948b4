"""The collector of the benchmarks: its page is what the kept numbers give, a failed part is told. No time asserted."""

import json

import psutil

from experiments.benchmarks import insides, report
from experiments.benchmarks.__main__ import keep, run_part
from experiments.benchmarks.goals import GOALS, Goal, goals_table
from experiments.benchmarks.parts import PARTS, Part
from experiments.benchmarks.presets import CLASSES, presets, row_of, table
from scl_core.methods import METHODS

QUICK = Part("scenes", "scenes", "--height 32 --width 48 --pictures 3 --repeats 2", "Drawing scenes", "One core.")


def test_page_is_what_the_kept_numbers_give():
    assert report.PAGE.read_text(encoding="utf-8") == report.page()
    for part in PARTS:
        assert f"## {part.title}\n" in report.page()
        assert (report.HERE / f"{part.module}.py").is_file()


def test_a_part_is_measured_kept_and_shown(tmp_path):
    keep(QUICK, run_part(QUICK, 60), tmp_path)
    record = report.read(QUICK, tmp_path)
    assert record["command"] == QUICK.command and len(record["found"]["rates"]) == 2
    text = report.section(QUICK, record, tmp_path)
    assert "32 x 48: " in text and "| sky | " in text
    assert f"{record['date']}, {record['machine']}" in text and f"`{QUICK.command}`" in text


def test_a_part_that_fails_is_told_in_the_page(tmp_path):
    part = Part("scenes", "scenes", "--no_such_option 1", "Drawing scenes", "One core.")
    keep(part, run_part(part, 60), tmp_path)
    text = report.page(tmp_path, tmp_path)
    assert "**No numbers: status 2: " in text and "--no_such_option" in text and "Not measured yet" in text


def test_a_part_that_takes_too_long_is_ended_with_all_it_started():
    record = run_part(Part("processes", "processes", "--steps 1000", "Processes", ""), 4)
    assert record["failure"] == "given up after 4 s"
    assert not [child for child in psutil.Process().children(recursive=True) if "processes" in child.cmdline()]


def test_goals_say_whether_they_are_met():
    found = {"one": {"value": 2.0}}
    rows = [Goal("a", "one", lambda f: f["value"], bound, " s", least) for bound, least in ((2, False), (3, True))]
    rows.append(Goal("c", "two", lambda f: f["value"], 1))
    assert [row.row(found).split(" | ")[1:] for row in rows] == [
        ["at most 2 s", "2 s", "yes |"],
        ["at least 3 s", "2 s", "**no** |"],
        ["at most 1", "-", "not measured |"],
    ]
    assert goals_table({}).count("not measured") == goals_table({}).count("\n") - 1


def test_every_kept_result_has_its_part_and_is_uniform():
    names = {part.name for part in PARTS}
    for file in report.RESULTS.glob("*.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        assert file.stem in names and ("failure" in record) != ("found" in record)
        assert {"command", "date", "machine", "load"} <= record.keys()


def test_presets_are_forecast_without_their_data():
    for data in CLASSES:
        assert {name.removesuffix("_paper") for name, _ in presets(data)} - {"recommended"} == set(METHODS)
    configs = dict(presets("scenes"))
    rows = [row_of(name, "scenes", configs[name]) for name in ("supervised", "scl")]
    assert 0 < rows[0]["memory_bytes"] < rows[1]["memory_bytes"]
    assert 1.5 < rows[1]["step_operations"] / rows[0]["step_operations"] < 4  # three passes, of 4, 4 and 8 pictures
    found = {"threads": 1, "operations_a_second": {"mobilenet_v2": rows[1]["step_operations"]}, "rows": rows}
    assert "| scenes/scl | mobilenet_v2 | 128 x 256 | 4 + 4 | 3,000 |" in table(found)


def test_a_step_faster_than_its_own_passes_is_no_measurement():
    goal = next(goal for goal in GOALS if goal.part == "step_large")
    assert "| 5 % | yes |" in goal.row({"step_large": {"rows": [{"method": "scl", "ratio": 1 / 0.95}]}})
    assert "not measured" in goal.row({"step_large": {"rows": [{"method": "scl", "ratio": 0.8}]}})


def test_the_page_of_the_other_methods_is_judged_by_its_slowest():
    times = {"seconds": 0.4, "processor_seconds": 0.3}
    rows = [{"method": name, "pair": pair} | times for name in ("cps", "pcr") for pair in ("new", "known")]
    rows[2]["seconds"], rows[3]["seconds"] = 0.6, 9.0
    found = {"pairs": 5, "threads": 2, "rows": rows}
    goal = next(goal for goal in GOALS if goal.part == "insides")
    assert "| 0.6 s | **no** |" in goal.row({"insides": found})
    assert "| pcr | 0.60 | 0.30 | 9.00 | 0.30 |" in insides.table(found)

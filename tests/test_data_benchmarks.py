"""The benchmarks of evaluation and loading run, at sizes that take no time; no time is asserted."""

from types import SimpleNamespace

from experiments.benchmarks import evaluation, loading


def test_the_plain_loop_of_the_benchmark_gives_what_evaluate_gives(tmp_path):
    found = evaluation.measure(SimpleNamespace(height=32, width=48, tile=32, threads=1, repeats=1), tmp_path)
    assert found["largest_difference"] < 1e-5 < found["largest_logit"]
    assert found["system"]["ratio"] > 0 and found["kept"]["ratio"] > 0


def test_pools_of_links_are_indexed_and_loaded(tmp_path):
    found = loading.pools(SimpleNamespace(files=150, steps=1), tmp_path)
    assert found["files"] == 150 and all(value > 0 for value in found.values())


def test_the_table_has_every_number():
    options = SimpleNamespace(root=None, height=16, width=32, threads=1, workers=0, steps=1, files=120)
    found = loading.measure(options)
    assert found["ratio"] > 0 and 0 < found["waiting_share"] < 1
    assert loading.table(found).count("\n| ") == 8

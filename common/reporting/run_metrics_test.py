from common.reporting.run_metrics import by_seed, run_figures, run_intervals


def test_intervals_of_all_papers_are_read_alike():
    own = {"metrics": {"free_maa": 1}, "confidence_95": {"maa": [1, 2]}, "baselines": {}}
    assert run_intervals(own) == ({"free_maa": [1, 2]}, {})
    rows = {"confidence_95": {"MM": {"map": [2, 1, 3]}, "ridge": {"map": [5, 4, 6]}}, "baselines": {"ridge": {}}}
    assert run_intervals(rows) == ({"map": [1, 3]}, {"ridge": {"map": [4, 6]}})
    assert run_intervals({}) == ({}, {})


def test_figures_of_runs_and_baselines_with_the_sections_asked_for():
    run = {
        "metrics": {"maa": 0.5, "none": None},
        "details": {"by_position": [0.1, 0.2]},
        "baselines": {"mean": {"maa": 0.4}},
        "baselines_details": {"mean": {"by_position": [0.3, None]}},
    }
    assert run_figures(run) == {"maa": 0.5}
    assert run_figures(run, ("details",)) == {"maa": 0.5, "by_position/1": 0.1, "by_position/2": 0.2}
    assert run_figures(run, ("details",), "mean") == {"maa": 0.4, "by_position/1": 0.3}


def test_equal_values_of_all_seeds_are_one():
    assert by_seed([{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 3.0}]) == {"a": [1.0], "b": [2.0, 3.0]}

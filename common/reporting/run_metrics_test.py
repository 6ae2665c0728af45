from common.reporting.run_metrics import by_seed, run_figures


def test_figures_of_runs_and_baselines_with_the_sections_asked_for():
    run = {
        "metrics": {"maa": 0.5, "none": None},
        "baselines": {"mean": {"maa": 0.4}},
        "details": {"places": {"right": [0.1, 0.2]}, "baselines_places": {"mean": {"right": [0.3, None]}}},
    }
    assert run_figures(run) == {"maa": 0.5}
    assert run_figures(run, ("places",)) == {"maa": 0.5, "right/1": 0.1, "right/2": 0.2}
    assert run_figures(run, ("places",), "mean") == {"maa": 0.4, "right/1": 0.3}


def test_equal_values_of_all_seeds_are_one():
    assert by_seed([{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 3.0}]) == {"a": [1.0], "b": [2.0, 3.0]}

"""The end of a run: its files and what it prints; and the picture, whose texts must not overlap or be cut."""

import time

import matplotlib.pyplot as plt
import numpy as np
import pytest

from common.checkpoint import Progress
from common.evaluation import Measured, Sample, evaluation
from common.options import TrainingOptions
from common.report import About, Part, finish
from common.reporting import charts
from common.reporting.charts import ACCENT, plot_comparison
from common.reporting.schema import dataset_facts, faults
from common.testing import metrics_of

LONG = "a baseline with a very long name that tells all of its twelve options (k = 20)"
ROWS = {
    "ours": {"rmse": 0.75, "map@10": 0.25, "odd": 1.0},
    "kNN": {"rmse": 0.5, "map@10": 0.5, "odd": 2.0},
    LONG: {"map@10": 0.125, "odd": 3.0},
}


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, instead of files."""
    made = []
    monkeypatch.setattr(charts, "_save", lambda figure, path: made.append(figure))
    yield made
    plt.close("all")


def test_bars_are_sorted_the_best_on_top_and_say_which_way_is_better(figures, tmp_path):
    intervals = {"ours": {"rmse": [0.5, 1.0]}, "kNN": {"rmse": [0.25, 0.75], "map@10": [0.4, 0.6]}}
    plot_comparison(tmp_path / "x.png", "title", ROWS, ("rmse", "map@10", "odd"), ["ours"], intervals)
    rmse, precision, odd = figures[0].axes[:3]
    titles = ["rmse (lower is better)", "map@10 (higher is better)", "odd"]
    assert [axis.get_title() for axis in (rmse, precision, odd)] == titles
    from_top = [text.get_text().replace("\n", " ") for text in rmse.get_yticklabels()][::-1]
    assert from_top == ["kNN", "ours", LONG]  # which has none
    assert [text.get_text() for text in precision.get_yticklabels()][::-1][:2] == ["kNN", "ours"]
    colours = [plt.matplotlib.colors.to_hex(bar.get_facecolor()) for bar in rmse.patches[::-1]]
    assert [colour == ACCENT for colour in colours] == [False, True, False]
    assert [len(axis.collections) for axis in (rmse, precision, odd)] == [2, 1, 0]  # lines of the intervals
    assert [text.get_text() for text in rmse.texts][::-1] == ["0.5000", "0.7500", "–"]


@pytest.mark.parametrize("columns", [1, 2, 5, 11])
def test_texts_of_the_picture_neither_overlap_nor_are_cut(figures, tmp_path, columns):
    rng, names = np.random.default_rng(columns), [f"map@{k}" for k in range(1, columns + 1)]
    rows = {name: dict.fromkeys(names, 0.0) | {n: float(rng.random()) for n in names} for name in [*ROWS, "x", "y z"]}
    ends = {name: {n: [value * 0.9, value * 1.1] for n, value in row.items()} for name, row in rows.items()}
    plot_comparison(tmp_path / "x.png", f"A long title, {LONG}, {LONG}", rows, names, ["ours"], ends)
    (figure,) = figures
    figure.draw_without_rendering()
    whole = figure.get_window_extent()
    texts = [figure._suptitle, figure._supxlabel]
    for axis in (axis for axis in figure.axes if axis.get_visible()):
        texts += [axis.title, *axis.get_yticklabels(), *axis.texts]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    for place, box in enumerate(boxes):
        inside = box.x0 >= whole.x0 - 1 and box.x1 <= whole.x1 + 1 and box.y0 >= whole.y0 - 1 and box.y1 <= whole.y1 + 1
        assert inside, texts[place].get_text()
        assert not [other for other in boxes[:place] if _overlap(box, other)], texts[place].get_text()


def _overlap(one, other):
    return min(one.x1, other.x1) - max(one.x0, other.x0) > 1.5 and min(one.y1, other.y1) - max(one.y0, other.y0) > 1.5


def test_a_run_ends_with_its_schema_its_intervals_and_the_test_against_the_best_baseline(figures, tmp_path, capsys):
    rng = np.random.default_rng(0)
    base = rng.random(50)
    rows = {
        name: Measured([Sample({"map": base + more, "auc": base}, "users")])
        for name, more in (("ours", 0.25 * rng.random(50)), ("kNN", 0.0), ("weak", -0.25))
    }
    options = TrainingOptions(seed=3, epochs=2)
    about = About("GRU4Rec", dataset_facts("sample", True, {"users": 50}, "f"), "by time", "all", "expected rank")
    found = evaluation(rows, ["map", "auc"], options.seed)
    told = finish(
        tmp_path,
        "Headline",
        options,
        about,
        found,
        [Part(found.rows, ["map", "auc"], notes=["A note."])],
        progress=Progress(epochs=2, seconds=1.5),
        started=time.perf_counter(),
        picture=["map"],
        warned=["only 1 test event: the figures say little"],
    )
    kept = metrics_of(tmp_path)
    assert faults(kept) == [] and kept.keys() == told.keys() and kept["details"] == {}
    assert (kept["model"], kept["best_baseline"], kept["seed"], kept["settings"]["epochs"]) == ("ours", "kNN", 3, 2)
    assert (kept["epochs"], kept["best_epoch"], kept["train_seconds"]) == (2, 2, 1.5)
    text, out = (tmp_path / "report.md").read_text("utf-8"), capsys.readouterr().out
    low, high = kept["intervals"]["ours"]["map"]
    for shown in (text.replace("\\", ""), out):
        assert "map of ours less that of the best baseline, kNN: +0." in shown and "50 users" in shown
        assert f"{kept['metrics']['map']:.4f} [{low:.4f}, {high:.4f}]" in shown
        assert "95 % intervals: bootstrap over users." in shown and "only 1 test event" in shown
    assert max(map(len, out.splitlines())) < 200 and "## All intervals" in text and "weak" in text
    assert len(figures) == 1

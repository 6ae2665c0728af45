"""Evaluation: means, bootstrap confidence intervals and paired tests, made once for all papers.

A paper hands over what it measured of each row (its model and the baselines) by user, event or session::

    rows = {"GRU4Rec": Measured([Sample({"recall@20": hits}, "sessions", session)]), "Markov": Measured([...])}
    found = evaluation(rows, columns=["recall@20"], seed=1)
    found.metrics, found.intervals, found.tests, found.sentence()
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.metrics.intervals import groups_of, interval_of, resampled_sums
from common.significance import holm, signed_rank_p

if TYPE_CHECKING:
    import pandas

LEVEL = 0.95
"""Of the confidence intervals."""
Figures = Mapping[str, float]
"""Name of a figure -> its value; NaN if nothing in the test tells it."""
_LOWER = {"rmse", "mae", "loss", "perplexity"}
_HIGHER = {"map", "ndcg", "mrr", "recall", "precision", "hit", "f", "auc", "coverage", "accuracy", "maa", "r"}
"""Words in the names of figures that say which is better."""


def better(figure: str) -> str:
    """``lower`` or ``higher``, as the name of a figure says; empty if it does not.

    >>> better("rmse"), better("map@10"), better("epoch")
    ('lower', 'higher', '')
    """
    words = set(re.split(r"[^a-z]+", figure.lower()))
    return "lower" if words & _LOWER else "higher" if words & _HIGHER else ""


@dataclass(frozen=True, eq=False)
class Sample:
    """Values of figures whose means are reported, such as one for each user or each event.

    Attributes:
        values: figure -> (n,) values, NaN where it is not defined.
        units: what is drawn for intervals and paired by tests, such as ``users`` or ``sessions``.
        unit: (n,) number of the unit that each value belongs to; None: each value is a unit. Values of one unit, such
            as the events of a session, depend on one another, and are drawn together.
        roots: figures that are the root of the mean of their values.
    """

    values: Mapping[str, NDArray[np.float64]]
    units: str
    unit: NDArray[Any] | None = None
    roots: Collection[str] = ()

    def __post_init__(self) -> None:
        sizes = {np.shape(values) for values in self.values.values()}
        sizes |= set() if self.unit is None else {np.shape(self.unit)}
        if len(sizes) > 1 or any(len(size) != 1 for size in sizes):
            raise ValueError(f"arrays of one length needed, got shapes {sorted(sizes)}")

    def figures(self) -> dict[str, float]:
        """The mean of each figure, or its root; NaN if it is defined nowhere."""
        found = {}
        for name, values in self.values.items():
            known = values[~np.isnan(values)]
            mean = float(known.mean()) if known.size else float("nan")
            found[name] = float(np.sqrt(mean)) if name in self.roots else mean
        return found

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """(n,) the units numbered 0, 1, ..., those without a value left out."""
        if self.unit is None:
            return np.arange(len(next(iter(self.values.values()), ())))
        return np.unique(self.unit, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def count(self) -> int:
        """Units that have a value."""
        return int(self.places.max(initial=-1)) + 1

    def sums(self, figure: str, group: NDArray[np.int64], groups: int) -> NDArray[np.float64]:
        """(groups, 2) sum and number of the values in each group, ``group`` (units,) being that of each unit."""
        values = self.values[figure]
        known = ~np.isnan(values)
        place = group[self.places[known]]
        return np.stack([np.bincount(place, values[known], groups), np.bincount(place, minlength=groups)], axis=1)

    def per_unit(self, figure: str) -> NDArray[np.float64]:
        """(units,) the mean of each unit, NaN where it has none."""
        total, number = self.sums(figure, np.arange(self.count), self.count).T
        return np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of a model or baseline.

    Attributes:
        samples: values of the figures that are means.
        others: figures that are none, such as the coverage of a catalogue: they have no interval.
    """

    samples: Sequence[Sample] = ()
    others: Figures = field(default_factory=dict)

    @cached_property
    def figures(self) -> dict[str, float]:
        """All figures."""
        found: dict[str, float] = {}
        for sample in self.samples:
            found |= sample.figures()
        return found | dict(self.others)

    def sample_of(self, figure: str) -> Sample | None:
        """The sample that has a figure; None if it is no mean."""
        return next((sample for sample in self.samples if figure in sample.values), None)


@dataclass(frozen=True)
class Evaluation:
    """Figures of models and baselines on the same test data, how sure they are, and what they differ by.

    Attributes:
        models: names of the rows that are no baselines, the evaluated model first.
        rows: row -> figure -> value, the models first.
        intervals: row -> figure -> 95 % bootstrap interval (low, high); of the figures that are means over two units
            or more.
        resampled: figure -> what was drawn for its interval, such as ``users``.
        best_baseline: the baseline with the best value of the first column that one has; None if there is none.
        tests: figure -> test of the model against the baseline that is best at that figure, see :func:`evaluation`.
        columns: the figures that are shown, the most important one first.
        against: row -> figure -> the same test against every other row, corrected for their number, if asked for.
        data: rows of a table that was measured on, used and left out; see :meth:`common.row_counts.RowCounts.as_json`.
    """

    models: tuple[str, ...]
    rows: Mapping[str, Figures]
    intervals: Mapping[str, Mapping[str, tuple[float, float]]]
    resampled: Mapping[str, str]
    best_baseline: str | None
    tests: Mapping[str, Mapping[str, Any]]
    columns: Sequence[str]
    against: Mapping[str, Mapping[str, Mapping[str, Any]]]
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """Name of the evaluated model's row."""
        return self.models[0]

    @property
    def metrics(self) -> Figures:
        """The model's figures."""
        return self.rows[self.model]

    @property
    def baselines(self) -> dict[str, Figures]:
        """Baseline -> its figures."""
        return {name: row for name, row in self.rows.items() if name not in self.models}

    def table(self) -> pandas.DataFrame:
        """A row for the model and each baseline, a column for each figure."""
        import pandas

        return pandas.DataFrame.from_dict({name: dict(row) for name, row in self.rows.items()}, orient="index")

    def sentence(self) -> str:
        """The test of the most important figure in words; empty if there is none."""
        figure = next((column for column in self.columns if column in self.tests), None)
        if figure is None:
            return ""
        test = self.tests[figure]
        p, pairs = test["wilcoxon_p"], f"{test['pairs']:,} {test['units']}"
        said = "no test possible" if np.isnan(p) else f"Wilcoxon p {'< 0.0001' if p < 1e-4 else f'= {p:.4f}'}"
        return (
            f"{figure} of {self.model} less that of the best baseline, {test['baseline']}: {test['difference']:+.4f} "
            f"[{test['low']:+.4f}, {test['high']:+.4f}] (95 % interval, {pairs}; {said})."
        )

    def beside(self) -> dict[str, dict[str, str]]:
        """A table: each shown figure of the model with its interval, and its difference to the best baseline."""
        found: dict[str, dict[str, str]] = {}
        own = self.intervals.get(self.model, {})
        for figure in self.columns:
            if figure in own:
                low, high = own[figure]
                found[figure] = {INTERVAL: f"{self.metrics[figure]:.4f} [{low:.4f}, {high:.4f}]"}
            if figure in self.tests:
                test = self.tests[figure]
                found[figure][DIFFERENCE] = f"{test['difference']:+.4f} [{test['low']:+.4f}, {test['high']:+.4f}]"
                found[figure][BASELINE] = test["baseline"]
        return found


INTERVAL, DIFFERENCE, BASELINE = "95 % interval", "less the best baseline", "which is"
"""Columns of :meth:`Evaluation.beside`."""


def evaluation(
    rows: Mapping[str, Measured],
    columns: Sequence[str],
    seed: int,
    models: Sequence[str] = (),
    bounds: Collection[str] = (),
    against_all: bool = False,
) -> Evaluation:
    """Sum up what was measured: means, intervals, and paired tests of the model against the baselines.

    An interval is the percentile bootstrap over the units of a sample: 1,000 times as many units as there are, drawn
    with replacement, all rows and figures of one sample by the same draws. A test has ``baseline``, ``difference``
    (the model's figure less the baseline's), ``low`` and ``high`` (its 95 % interval by those draws), ``pairs`` and
    ``units`` (how many of what were compared), ``wilcoxon_p`` (signed ranks of the units' differences) and
    ``wilcoxon_p_holm`` (corrected for the number of figures).

    Args:
        rows: what was measured of the model, which is first, and of the baselines.
        columns: the figures that are tested, the most important one first.
        seed: of the draws.
        models: names of all rows that are no baselines, if there are more than the first.
        bounds: rows that no model can beat, such as an upper bound: none of them is the best baseline.
        against_all: test the model against every other row, too.

    Raises:
        ValueError: two rows have a figure of samples that are not of the same units.
    """
    models = tuple(models) or (next(iter(rows)),)
    figures = {name: row.figures for name, row in rows.items()}
    draws, resampled = _draws(rows, seed)
    intervals: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in rows}
    for (name, figure), drawn in draws.items():
        intervals[name][figure] = interval_of(drawn, LEVEL)
    others = [name for name in rows if name not in models and name not in bounds]
    best = {column: found for column in columns if (found := _best(figures, others, column))}
    ours, tests = models[0], {}
    for figure in columns:
        at_figure = best.get(figure)
        if at_figure and (ours, figure) in draws and (at_figure, figure) in draws:
            tests[figure] = _test(rows, draws, figure, ours, at_figure)
    against = {
        name: {figure: _test(rows, draws, figure, ours, name) for figure in columns if _both(draws, figure, ours, name)}
        for name in rows
        if against_all and name not in models
    }
    for figure in columns:
        _correct([of[figure] for of in against.values() if figure in of])
    _correct(list(tests.values()))
    known = {name: row for name, row in intervals.items() if row}
    first = next(iter(best.values()), None)
    return Evaluation(models, figures, known, resampled, first, tests, tuple(columns), against)


Draws = dict[tuple[str, str], NDArray[np.float64]]
"""(row, figure) -> its values in the bootstrap samples, (samples,)."""


def _draws(rows: Mapping[str, Measured], seed: int) -> tuple[Draws, dict[str, str]]:
    """The figures of the bootstrap samples, and what was drawn for each figure."""
    resampled: dict[str, str] = {}
    alike: dict[int, list[tuple[str, str, Sample]]] = {}
    for name, row in rows.items():
        for sample in row.samples:
            for figure, values in sample.values.items():
                known = sample.places[~np.isnan(values)]
                if known.size and known.min() < known.max():  # two units or more
                    alike.setdefault(sample.count, []).append((name, figure, sample))
                    resampled.setdefault(figure, sample.units)
    found: Draws = {}
    for units, members in alike.items():
        group = groups_of(units, seed)
        groups = int(group.max()) + 1
        columns = np.concatenate([sample.sums(figure, group, groups) for _, figure, sample in members], axis=1)
        sums = resampled_sums(columns, seed)
        for place, (name, figure, sample) in enumerate(members):
            total, number = sums[:, 2 * place], sums[:, 2 * place + 1]
            means = np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)
            found[name, figure] = np.sqrt(means) if figure in sample.roots else means
    return found, resampled


def _best(figures: Mapping[str, Figures], names: Sequence[str], figure: str) -> str | None:
    known = {name: figures[name][figure] for name in names if not np.isnan(figures[name].get(figure, np.nan))}
    if not known:
        return None
    return (min if better(figure) == "lower" else max)(known, key=lambda name: known[name])


def _both(draws: Draws, figure: str, one: str, other: str) -> bool:
    return (one, figure) in draws and (other, figure) in draws


def _test(rows: Mapping[str, Measured], draws: Draws, figure: str, one: str, other: str) -> dict[str, Any]:
    first, second = rows[one].sample_of(figure), rows[other].sample_of(figure)
    assert first is not None and second is not None
    if first.count != second.count or first.units != second.units:
        raise ValueError(f"{figure}: {one} and {other} were not measured on the same {first.units}")
    apart = first.per_unit(figure) - second.per_unit(figure)
    apart = apart[~np.isnan(apart)]
    low, high = interval_of(draws[one, figure] - draws[other, figure], LEVEL)
    return {
        "baseline": other,
        "difference": rows[one].figures[figure] - rows[other].figures[figure],
        "low": low,
        "high": high,
        "pairs": len(apart),
        "units": first.units,
        "wilcoxon_p": signed_rank_p(apart),
    }


def _correct(tests: Sequence[dict[str, Any]]) -> None:
    """Add Holm's correction for the number of ``tests``."""
    for test, p in zip(tests, holm([test["wilcoxon_p"] for test in tests]), strict=True):
        test["wilcoxon_p_holm"] = p

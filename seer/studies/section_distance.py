"""Check 1 of the explanations (v2, table 7): are a user's explaining sections closer to one another than random ones?

Distance is that of dynamic time warping, DTW: two sections are aligned step by step, each step to one or several of the
other, both in order, so that the sum of the Euclidean distances between aligned steps (32 raw values) is smallest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from common.report import Part
from common.significance import paired_test
from common.sources import Dataset
from seer.preprocess import SeerData
from seer.studies.options import Sections
from seer.studies.report import Experiment
from seer.studies.sections import Section, UserSections, choose_sections, given_model, trained_model

_CELLS = 4_000_000  # of the cost matrices that are in memory at the same time
PAPER_DISTANCES = {"explanations": 22844.1, "random sections": 24820.9}
"""arXiv 1907.01640 v2, table 7; p = .031; its interval (182, 3771) has the sign of random - explanations."""
NOTE = (
    "A user's distance is the mean of the full matrix of DTW distances between the sections, the zeros of its diagonal "
    "included, as v2 says. The difference is explanations - random: negative means that explanations are closer to one "
    "another. t: paired over users, the same as v2's randomised block design with two treatments."
)


def dtw_distances(sections: Sequence[np.ndarray], pairs: np.ndarray) -> np.ndarray:
    """DTW distance of each pair of sections.

    All cells of an anti-diagonal, of many pairs at a time, are computed together: a cell needs only the two diagonals
    before it.

    Args:
        sections: arrays (steps, features), at least one step each.
        pairs: (pairs, 2) numbers of the sections to compare.

    Returns:
        (pairs,) float64.

    Raises:
        ValueError: a section has no step.
    """
    lengths = np.array([len(section) for section in sections])
    if not lengths.all():
        raise ValueError("a section has no step")
    result = np.zeros(len(pairs))
    order = np.lexsort((lengths[pairs[:, 1]], lengths[pairs[:, 0]]))  # equal lengths together: little padding
    start = 0
    while start < len(order):
        n, m = lengths[pairs[order[start:]]].max(axis=0)
        block = order[start : start + max(1, _CELLS // int(n * m))]
        first, second = ([sections[i] for i in pairs[block, side]] for side in (0, 1))
        result[block] = _dtw_block(first, second)
        start += len(block)
    return result


def _dtw_block(first: list[np.ndarray], second: list[np.ndarray]) -> np.ndarray:
    a, b = _padded(first), _padded(second)
    ends = np.array([len(section) for section in first]), np.array([len(section) for section in second])
    square = np.square(a).sum(-1)[:, :, None] + np.square(b).sum(-1)[:, None, :] - 2 * a @ b.transpose(0, 2, 1)
    cost = np.sqrt(np.maximum(square, 0))  # (pairs, n, m)
    pairs, n, m = cost.shape
    result = np.zeros(pairs)
    # A diagonal holds at i + 1 the best sum up to cell (i, j) with i + j = d; before the first cell it is 0.
    before, last = np.full((2, pairs, n + 1), np.inf)
    before[:, 0] = 0
    for d in range(n + m - 1):
        i = np.arange(max(0, d - m + 1), min(d, n - 1) + 1)
        best = np.minimum(np.minimum(last[:, i], last[:, i + 1]), before[:, i])
        now = np.full((pairs, n + 1), np.inf)
        now[:, i + 1] = cost[:, i, d - i] + best
        done = np.flatnonzero(ends[0] + ends[1] - 2 == d)
        result[done] = now[done, ends[0][done]]
        before, last = last, now
    return result


def _padded(sections: list[np.ndarray]) -> np.ndarray:
    found = np.zeros((len(sections), max(map(len, sections)), sections[0].shape[1]))
    for row, section in zip(found, sections, strict=True):
        row[: len(section)] = section
    return found


def mean_distances(chosen: Sequence[Sequence[Section]], data: SeerData) -> np.ndarray:
    """The mean of the full distance matrix between the sections of each user, (users,); see :data:`NOTE`."""
    distinct = {section: number for number, section in enumerate(dict.fromkeys(s for row in chosen for s in row))}
    wanted: dict[tuple[int, int], int] = {}
    cells = []  # (user, number of the pair)
    for user, row in enumerate(chosen):
        numbers = [distinct[section] for section in row]
        for place, one in enumerate(numbers):
            for other in numbers[:place]:
                cells.append((user, wanted.setdefault((min(one, other), max(one, other)), len(wanted))))
    steps = [np.asarray(data.midi[song, first:stop], np.float64) for song, first, stop in distinct]
    distance = dtw_distances(steps, np.array(list(wanted)))
    users, pairs = np.array(cells).T
    sums = np.bincount(users, 2 * distance[pairs], len(chosen))
    return sums / np.square([len(row) for row in chosen])


def run(options: Sections, dataset: Dataset, data: SeerData) -> dict[str, Any]:
    """Explain the recommendations of random users and compare the sections with random ones."""
    given = given_model(options, dataset, data)
    experiment = Experiment("sections", options, dataset, data)
    model = given or trained_model(options, experiment, data)
    chosen = choose_sections(options, model, data)
    explained = mean_distances([one.explained for one in chosen], data)
    random = mean_distances([one.random for one in chosen], data)
    test = paired_test(explained, random)
    rows = {
        "explanations": {"mean": float(explained.mean()), "sd": float(explained.std(ddof=1))},
        "random sections": {"mean": float(random.mean()), "sd": float(random.std(ddof=1))},
    }
    picture = Part(dict(rows), ("mean",))
    rows |= {f"paper v2: {name}": {"mean": value} for name, value in PAPER_DISTANCES.items()}
    columns = ("pairs", "difference", "low", "high", "t", "t_p", "wilcoxon_p")
    a = model.networks.architecture
    tables = [
        Part(rows, ("mean", "sd"), f"Mean DTW distance, {len(chosen)} users"),
        Part({"explanations - random": asdict(test)}, columns, "Paired test over users", [NOTE + _distinct(chosen)]),
    ]
    summary = {
        "model": asdict(a),
        "weights": [str(path) for path in options.weights],
        "metrics": rows,
        "test": asdict(test),
        "users": [
            asdict(one) | {"explained_distance": e, "random_distance": r}
            for one, e, r in zip(chosen, explained.tolist(), random.tolist(), strict=True)
        ],
    }
    headline = f"SeER {a.variant}: DTW distance between sections"
    return experiment.finish(headline, tables, summary, picture, ["explanations"])


def _distinct(chosen: list[UserSections]) -> str:
    lists = len({tuple(one.songs) for one in chosen})
    return (
        f" The {len(chosen)} users have {lists} different lists of recommendations: the fewer, the less is a p-value "
        "over users worth."
    )

"""DTW against its definition, and the distance matrices of users."""

from types import SimpleNamespace

import numpy as np
import pytest

from seer.studies import section_distance
from seer.studies.section_distance import dtw_distances, mean_distances
from seer.studies.sections import Section, top_songs


def brute_force(a, b):
    best = np.full((len(a) + 1, len(b) + 1), np.inf)
    best[0, 0] = 0
    for i, x in enumerate(a.astype(float)):
        for j, y in enumerate(b.astype(float)):
            step = np.sqrt(np.sum((x - y) ** 2))
            best[i + 1, j + 1] = step + min(best[i, j], best[i, j + 1], best[i + 1, j])
    return best[-1, -1]


def some_sections(count=9, features=32, seed=0):
    rng = np.random.default_rng(seed)
    lengths = [1, 1, 2, *rng.integers(3, 25, count - 3)]
    return [rng.integers(0, 128, (n, features)) * (rng.random((n, features)) < 0.3) for n in lengths]


@pytest.mark.parametrize("cells", [1, 200, 4_000_000])  # one pair at a time, some, all
def test_dtw_equals_brute_force(cells, monkeypatch):
    monkeypatch.setattr(section_distance, "_CELLS", cells)
    sections = some_sections()
    pairs = np.array([(i, j) for i in range(len(sections)) for j in range(len(sections))])
    expected = [brute_force(sections[i], sections[j]) for i, j in pairs]
    np.testing.assert_allclose(dtw_distances(sections, pairs), expected, rtol=1e-9, atol=1e-5)


def test_dtw_is_a_symmetric_distance_of_alignments():
    a = np.array([[0.0], [3.0], [3.0], [9.0]])
    stretched = np.repeat(a, [3, 1, 2, 4], axis=0)
    constant = np.zeros((5, 1))
    found = dtw_distances([a, stretched, constant], np.array([(0, 1), (0, 0), (0, 2), (2, 0)]))
    np.testing.assert_allclose(found, [0, 0, 15 + 0, 15])  # 3 + 3 + 9 over the shortest alignment


def test_dtw_of_random_walks_agrees_with_librosa():
    import librosa

    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(40, 4)).cumsum(0), rng.normal(size=(31, 4)).cumsum(0)
    reference = librosa.sequence.dtw(a.T, b.T, metric="euclidean", backtrack=False)[-1, -1]
    assert dtw_distances([a, b], np.array([(0, 1)]))[0] == pytest.approx(reference)


def test_empty_sections_are_refused():
    with pytest.raises(ValueError, match="no step"):
        dtw_distances([np.zeros((0, 32)), np.zeros((3, 32))], np.array([(0, 1)]))


def test_mean_of_the_full_matrix_with_its_zeros():
    data = SimpleNamespace(midi=np.random.default_rng(1).integers(0, 128, (4, 30, 32)).astype(np.uint8))
    users = [[Section(0, 0, 9), Section(1, 3, 20), Section(2, 1, 5)], [Section(1, 3, 20), Section(3, 2, 30)]]
    expected = []
    for row in users:
        steps = [data.midi[song, first:stop] for song, first, stop in row]
        expected.append(np.mean([[brute_force(a, b) for a in steps] for b in steps]))
    np.testing.assert_allclose(mean_distances(users, data), expected, rtol=1e-9)


def test_a_user_whose_sections_are_one_and_the_same():
    data = SimpleNamespace(midi=np.ones((1, 8, 32), np.uint8))
    assert mean_distances([[Section(0, 0, 4), Section(0, 2, 8)]], data)[0] == 0
    assert mean_distances([[Section(0, 0, 4), Section(0, 0, 4)]], data)[0] == 0


def test_top_songs_leave_out_what_the_user_rated():
    scores = np.array([[5.0, 4, 3, 2], [5, 4, 3, 2]])
    rated = SimpleNamespace(users=np.array([3, 3, 7, 5]), songs=np.array([0, 2, 1, 3]))
    assert top_songs(scores, np.array([3, 7]), rated, 2) == [[1, 3], [0, 2]]
    assert top_songs(scores, np.array([3, 7]), rated, 9) == [[1, 3], [0, 2, 3]]

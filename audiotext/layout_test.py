import numpy as np
import pytest
from scipy import sparse

from audiotext.audio.scaler import Scaler
from audiotext.layout import ARTISTS, SONGS, Layout, read_csr, write_csr, zero_rows
from audiotext.matrices import read_dense, write_dense
from common.options import UserError

ARTIST_OF = {"s0": "a0", "s1": "a1", "s2": "a1", "s3": "a2"}


@pytest.fixture
def layout(tmp_path):
    """Three training artists with four songs, one test artist with two, three users, five factors."""
    made = Layout(tmp_path / "dlrs-data", factors=5)
    rng = np.random.default_rng(1)
    made.save_index("train", ARTISTS, ["a0", "a1", "a2"])
    made.save_index("train", SONGS, list(ARTIST_OF))
    made.save_index("test", ARTISTS, ["a3"])
    made.save_index("test", SONGS, ["s4", "s5"])
    made.save_dense(made.factors_name(SONGS), rng.random((4, 5)))
    made.save_dense(made.user_factors_name(SONGS), rng.random((3, 5)))
    made.save_csr(made.matrix_test_name(SONGS), sparse.csr_matrix(np.eye(2, 3)))
    made.save_csr(made.text_name("train"), sparse.csr_matrix(np.diag([1.0, 2.0, 3.0])))
    made.save_csr(made.text_name("test"), sparse.csr_matrix([[0.0, 1.0, 0.0]]))
    made.save_dense(made.audio_name("train"), rng.random((4, 7)).astype(np.float32))
    made.save_dense(made.artist_embedding_name("train"), rng.random((4, 2)).astype(np.float32))
    return made


def test_names_are_the_released_ones(tmp_path):
    layout = Layout(tmp_path)
    assert layout.path(layout.index_name("train", SONGS)) == tmp_path / "splits/items_index_train_MSD-A-songs.tsv"
    assert layout.path(layout.factors_name(SONGS)) == tmp_path / "splits/y_train_als_200_MSD-A-songs.npy"
    assert layout.path(layout.user_factors_name(SONGS)) == tmp_path / "splits/user_factors_als_200_MSD-A-songs.npy"
    assert layout.path(layout.matrix_test_name(ARTISTS)) == tmp_path / "splits/matrix_test_MSD-A-artists.npz"
    assert layout.path(layout.text_name("test")) == tmp_path / "train_data/X_test_sem-bio_MSD-A-artists.npz"
    assert layout.path(layout.artist_embedding_name("train")).name == "X_train_a-sem-emb_MSD-A-songs.npy"
    assert layout.path(layout.audio_name("train")).name == "X_train_audio-emb_MSD-A-songs.npy"


def test_what_is_saved_is_loaded(layout):
    assert layout.load_index("test", SONGS) == ["s4", "s5"]
    assert layout.load_factors().shape == (4, 5) and layout.load_user_factors().shape == (3, 5)
    assert layout.load_matrix_test().toarray().tolist() == [[1, 0, 0], [0, 1, 0]]
    assert layout.load_text("train").diagonal().tolist() == [1, 2, 3]
    assert isinstance(layout.load_audio("train"), np.memmap) and layout.load_audio("train").shape == (4, 7)
    assert layout.load_artist_embedding("train").shape == (4, 2)


def test_files_moved_to_test_data_are_found(layout):
    moved = layout.folder / "test_data"
    moved.mkdir()
    for name in (layout.matrix_test_name(SONGS), layout.user_factors_name(SONGS), layout.index_name("test", SONGS)):
        layout.path(name).rename(moved / name)
    layout.path(layout.text_name("test")).rename(moved / layout.text_name("test"))
    assert layout.load_matrix_test().shape == (2, 3) and layout.load_text("test").shape == (1, 3)
    assert layout.load_index("test", SONGS) == ["s4", "s5"]


def test_text_of_songs_is_expanded_from_artists(layout):
    with pytest.raises(UserError, match=r"has 3 rows, one for each artist, but songs need 4.*artist_of_song\.tsv"):
        layout.load_text("train", items=SONGS)
    layout.save_artists_of_songs(ARTIST_OF)
    assert layout.load_text("train", items=SONGS).toarray().tolist() == [[1, 0, 0], [0, 2, 0], [0, 2, 0], [0, 0, 3]]
    with pytest.raises(UserError, match="lacks the song 's4' of the test split"):
        layout.load_text("test", items=SONGS)
    layout.save_artists_of_songs({**ARTIST_OF, "s3": "a9"})
    with pytest.raises(UserError, match=r"'a9', the artist of 's3', is not in .*items_index_train_MSD-A-artists.tsv"):
        layout.load_text("train", items=SONGS)


def test_text_that_has_been_expanded_is_taken_for_songs_only(layout):
    layout.save_csr(layout.text_name("train"), sparse.csr_matrix(np.eye(4, 3)))
    assert layout.load_text("train", items=SONGS).shape == (4, 3)
    with pytest.raises(UserError, match=r"has 4 rows; expected 3, one for each artist.*expanded to one row"):
        layout.load_text("train")
    layout.path(layout.index_name("train", ARTISTS)).unlink()  # as the seed has it
    layout.path(layout.index_name("train", SONGS)).unlink()
    assert layout.load_text("train", items=SONGS).shape == (4, 3)
    layout.save_csr(layout.text_name("train"), sparse.csr_matrix(np.eye(3, 3)))
    with pytest.raises(UserError, match=r"has 3 rows; expected 4, one for each song of .*y_train_als_5"):
        layout.load_text("train", items=SONGS)


def test_text_with_rows_of_neither(layout):
    layout.save_csr(layout.text_name("train"), sparse.csr_matrix(np.eye(6, 3)))
    with pytest.raises(UserError, match=r"has 6 rows; expected 4, one for each song.*\(or 3, one for each artist"):
        layout.load_text("train", items=SONGS)


@pytest.mark.parametrize(
    "name, matrix, load, message",
    [
        ("factors_name", np.ones((3, 5)), "load_factors", "has 3 rows; expected 4, one for each song of .*items_index"),
        ("factors_name", np.ones((4, 6)), "load_factors", "has 6 columns; expected 5"),
        ("user_factors_name", np.ones((3, 4)), "load_user_factors", "has 4 columns; expected 5"),
        ("user_factors_name", np.ones((2, 5)), "load_matrix_test", "has 3 columns, one for each user; expected 2"),
        ("factors_name", np.full((4, 5), np.nan), "load_factors", "row 1 holds NaN or infinite numbers"),
        ("factors_name", np.ones(4), "load_factors", "expected a matrix of real numbers"),
        ("factors_name", np.full((4, 5), "x"), "load_factors", "expected a matrix of real numbers"),
    ],
)
def test_dense_matrices_that_do_not_fit(layout, name, matrix, load, message):
    layout.save_dense(getattr(layout, name)(SONGS), matrix)
    with pytest.raises(UserError, match=message):
        getattr(layout, load)()


def test_other_rows_in_audio_and_plays(layout):
    layout.save_dense(layout.audio_name("train"), np.ones((5, 2)))
    with pytest.raises(UserError, match=r"X_train_audio-emb.*has 5 rows; expected 4"):
        layout.load_audio("train")
    with pytest.raises(UserError, match=r"X_test_audio-emb_MSD-A-songs.npy: no such file"):
        layout.load_audio("test")
    layout.save_csr(layout.matrix_test_name(SONGS), sparse.csr_matrix(np.eye(3)))
    with pytest.raises(UserError, match=r"matrix_test.*has 3 rows; expected 2"):
        layout.load_matrix_test()


def test_nan_is_found_in_any_block(layout, monkeypatch):
    monkeypatch.setattr("audiotext.matrices.BLOCK", 4)
    matrix = np.ones((4, 5))
    matrix[2, 3] = np.inf
    layout.save_dense(layout.factors_name(SONGS), matrix)
    with pytest.raises(UserError, match="row 3 holds NaN"):
        layout.load_factors()
    assert zero_rows(np.array([[0.0], [1], [0]])) == 2


@pytest.mark.parametrize(
    "content, message",
    [
        (b"a\nb\na\n", r"line 3: the id 'a' is that of line 1"),
        (b"a\n\nb\n", "line 2: is empty"),
        (b"", "line 1: is empty"),
        (b"a\n\xff\n", "cannot be read as UTF-8"),
    ],
)
def test_indices_that_are_none(layout, content, message):
    layout.path(layout.index_name("test", SONGS)).write_bytes(content)
    with pytest.raises(UserError, match=message):
        layout.load_index("test", SONGS)


def test_sparse_files_of_scipy_are_read_too(tmp_path):
    matrix = sparse.random(7, 5, 0.4, random_state=1)
    for kind in ("csr", "csc", "coo"):
        sparse.save_npz(tmp_path / "scipy.npz", matrix.asformat(kind))
        assert (read_csr(tmp_path / "scipy.npz") != matrix).nnz == 0
    write_csr(tmp_path / "ours.npz", matrix)
    assert (read_csr(tmp_path / "ours.npz") != matrix).nnz == 0
    with np.load(tmp_path / "ours.npz") as file:
        assert sorted(file.files) == ["data", "indices", "indptr", "shape"]
    assert zero_rows(sparse.csr_matrix(([0.0, 1.0, -1.0], ([0, 1, 1], [0, 0, 1])), shape=(3, 2))) == 2


def test_sparse_files_that_are_none(tmp_path):
    path = tmp_path / "x.npz"
    good = {"data": np.ones(2), "indices": np.array([0, 1]), "indptr": np.array([0, 1, 2]), "shape": np.array([2, 2])}
    for changes, message in (
        ({"indices": np.array([0, 5])}, "cannot be read as a sparse matrix"),
        ({"indptr": np.array([0, 1])}, "cannot be read as a sparse matrix"),
        ({"indptr": np.array([0, 5, 2])}, "cannot be read as a sparse matrix"),
        ({"shape": np.array([2])}, "cannot be read as a sparse matrix"),
        ({"data": np.array([1.0, np.nan])}, "its values hold NaN"),
        ({"data": np.array(["a", "b"])}, "expected real numbers"),
        ({"data": np.array([None, None])}, "cannot be read as a sparse matrix"),
    ):
        np.savez(path, **{**good, **changes}, allow_pickle=True)
        with pytest.raises(UserError, match=message):
            read_csr(path)
    np.savez(path, a=np.ones(2))
    with pytest.raises(UserError, match="lacks data, indices, indptr, shape among its arrays a"):
        read_csr(path)
    for content in (b"", b"nonsense", (tmp_path / "x.npz").read_bytes()[:60]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as a sparse matrix"):
            read_csr(path)
    np.save(tmp_path / "dense.npy", np.ones((2, 2)))
    with pytest.raises(UserError, match="cannot be read as a sparse matrix"):
        read_csr(tmp_path / "dense.npy")
    with pytest.raises(UserError, match="no such file"):
        read_csr(tmp_path / "none.npz")


@pytest.mark.parametrize("read", [read_dense, read_csr, Scaler.load])
def test_whatever_is_damaged_in_a_file_is_a_mistake_of_the_user(read, tmp_path):
    whole, path, rng = tmp_path / "whole", tmp_path / "damaged", np.random.default_rng(1)
    if read is read_dense:
        write_dense(whole, np.ones((3, 2)))
    elif read is read_csr:
        write_csr(whole, sparse.random(5, 6, 0.5, "csr", random_state=1))
    else:
        Scaler(np.ones((3, 2), np.float32), np.ones((3, 2), np.float32)).save(whole)
    read(whole)
    content, refused = whole.read_bytes(), 0
    for _ in range(200):
        damaged = bytearray(content[: rng.integers(len(content)) if rng.random() < 0.2 else None])
        for place in rng.integers(0, min(len(damaged), 2000) or 1, 2):
            damaged[place : place + 1] = bytes([rng.integers(256)])
        path.write_bytes(damaged)
        try:
            read(path)
        except UserError:
            refused += 1
    assert refused > 100
    np.savez(whole, mean=np.ones((3, 2)), deviation=np.zeros((3, 2)), a=np.array([{}], dtype=object))
    with pytest.raises(UserError):
        read(whole.with_suffix(".npz"))

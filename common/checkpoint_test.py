"""A checkpoint gives back what was saved, and nothing else passes for one."""

import io
import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.checkpoint import FILE, Progress, read_npz, restore_checkpoint, save_checkpoint, write_history
from common.options import UserError


def variables(value=0.0):
    return {"a": keras.Variable(np.full((2, 3), value, np.float32)), "b": tf.Variable(np.full(4, value, np.float32))}


def values(found):
    return {name: np.asarray(variable) for name, variable in found.items()}


@pytest.fixture
def progress():
    rows = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": float("nan")}]
    return Progress(epochs=2, history=rows, batch_losses=[0.5, 1 / 3], best_epoch=1, seconds=1.5)


@pytest.fixture
def saved(tmp_path, progress):
    save_checkpoint(tmp_path, variables(7.0), progress, {"a": np.full((2, 3), 5, np.float32)})
    return tmp_path


def test_what_was_saved_comes_back(saved, progress):
    into = variables()
    (saved / "history.csv").unlink()  # as if killed before it was written
    found, best = restore_checkpoint(saved, into, ["a"])
    assert json.dumps(vars(found)) == json.dumps(vars(progress))
    assert {name: array.max() for name, array in values(into).items()} == {"a": 7.0, "b": 7.0}
    assert list(best) == ["a"] and (best["a"] == 5).all()
    assert (saved / "history.csv").read_text() == "epoch,loss\n1,0.30000000000000004\n2,nan\n"
    assert sorted(path.name for path in saved.iterdir()) == [FILE, "history.csv"]


def test_without_a_checkpoint_nothing_changes(tmp_path):
    into = variables(3.0)
    found, best = restore_checkpoint(tmp_path, into, ["a"])
    assert found == Progress() and best == {} and values(into)["b"].min() == 3
    assert not list(tmp_path.iterdir())


def test_an_error_while_writing_leaves_the_checkpoint_before(saved, monkeypatch):
    before = (saved / FILE).read_bytes()
    monkeypatch.setattr(np, "savez", lambda file, **arrays: (file.write(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        save_checkpoint(saved, variables(1.0), Progress())
    assert (saved / FILE).read_bytes() == before and len(list(saved.iterdir())) == 2


def arrays_of(folder):
    with np.load(folder / FILE) as file:
        return dict(file)


def bomb(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (25_000_000,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header.getvalue() + bytes(100_000_000))


def lying_header(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**13,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", header.getvalue())


def edit_directory(path, place, value):
    """Change a byte of every entry in the directory at the end of a zip."""
    content = bytearray(path.read_bytes())
    start = content.find(b"PK\1\2")
    while start >= 0:
        content[start + place] = value
        start = content.find(b"PK\1\2", start + 1)
    path.write_bytes(content)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no zip"),
    "half": lambda path: path.write_bytes(path.read_bytes()[:300]),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a member that is no array": lambda path: zipfile.ZipFile(path, "a").writestr("note.txt", "x"),
    "a bomb": bomb,
    "a header that lies": lying_header,
    "pickles": lambda path: np.savez(path, a=np.array([{}], dtype=object)),
    "encrypted": lambda path: edit_directory(path, 8, 1),
    "packed in an unknown way": lambda path: edit_directory(path, 10, 99),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_in_one_line(saved, damage):
    DAMAGE[damage](saved / FILE)
    into = variables(3.0)
    with pytest.raises(UserError, match=r"checkpoint\.npz: damaged, or of another model \(.+\); delete it") as caught:
        restore_checkpoint(saved, into, ["a"])
    assert "\n" not in str(caught.value) and values(into)["a"].max() == 3


@pytest.mark.parametrize(
    "change",
    [
        {"a": np.zeros((3, 2), np.float32)},
        {"a": np.zeros((2, 3))},
        {"a": np.full((2, 3), "x")},
        {"a": np.full((2, 3), np.inf, np.float32)},
        {"c": np.zeros(1, np.float32)},
        {"best.b": np.zeros(4, np.float32)},
        {"best.a": np.zeros(4, np.float32)},
        {"progress": np.zeros(3)},
        *(
            {"progress": np.array(json.dumps(content))}
            for content in (
                [1],
                None,
                {},
                {"epochs": 1, "other": 2},
                {"epochs": "2", "history": [{}, {}]},
                {"epochs": True, "history": [{}]},
                {"epochs": 1, "history": []},
                {"epochs": 1, "history": [[1]]},
                {"epochs": 1, "history": [{"loss": "low"}]},
                {"epochs": 2, "history": [{"loss": 1}, {"val": 1}]},
                {"epochs": 1, "history": [{}], "best_epoch": 2},
                {"epochs": 1, "history": [{}], "best_epoch": -1},
                {"epochs": 1, "history": [{}], "seconds": "long"},
                {"epochs": 1, "history": [{}], "batch_losses": 3},
            )
        ),
        {"progress": np.array("[" * 100_000)},
    ],
)
def test_arrays_and_progress_of_another_model_are_refused(saved, change):
    np.savez(saved / FILE, **arrays_of(saved) | change)
    into = variables(3.0)
    with pytest.raises(UserError, match=r"checkpoint\.npz: damaged, or of another model"):
        restore_checkpoint(saved, into, ["a"])
    assert values(into)["a"].max() == 3


def test_a_missing_array_is_named(saved):
    arrays = arrays_of(saved)
    del arrays["b"]
    np.savez(saved / FILE, **arrays)
    with pytest.raises(UserError, match=r"it holds 2 arrays, this model needs 3; b is in one only"):
        restore_checkpoint(saved, variables(), ["a"])


def test_read_npz_reads_compressed_files(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=np.arange(5))
    assert read_npz(tmp_path / "x.npz")["a"].tolist() == [0, 1, 2, 3, 4]


def test_history_without_rows_is_an_empty_file(tmp_path):
    write_history(tmp_path / "history.csv", [])
    assert (tmp_path / "history.csv").read_text() == ""


def test_an_array_that_its_header_cuts_short_is_noticed_by_its_checksum(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(20_000, dtype=np.float32))
    path.write_bytes(path.read_bytes().replace(b"(20000,), }", b"(10000,), }"))
    with np.load(path) as file:
        assert len(file["a"]) == 10_000  # NumPy does not notice
    with pytest.raises(ValueError, match=r"the checksum of a\.npy is wrong"):
        read_npz(path)


def test_a_zip_that_damage_made_empty_is_noticed(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(3))
    content = bytearray(path.read_bytes())
    end = content.rfind(b"PK\5\6")
    content[end + 4 : end + 16] = bytes(12)  # how many members there are, and how long their list is
    path.write_bytes(content)
    with np.load(path) as file:
        assert not file.files
    with pytest.raises(ValueError, match="it holds no array"):
        read_npz(path)

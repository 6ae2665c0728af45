"""From raw material to dlrs-data: what is made, when it is made anew, what is refused."""

import json
import shutil

import numpy as np
import pytest

from audiotext.dataset import owner_rows, read_items, read_users
from audiotext.inputs import read_patches
from audiotext.layout import ARTISTS, SONGS
from audiotext.preprocess import PARTS, PrepareOptions, PreprocessOptions, main, open_dataset, read_state, tfidf_path
from audiotext.testing import small_collection
from audiotext.text import TfIdf
from common.arrays import read_sealed
from common.options import UserError
from common.testing import in_process

OPTIONS = ("--factors", 4, "--jobs", 1)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return small_collection(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def opened(raw, private_data):
    return open_dataset(raw, PrepareOptions(factors=4, jobs=1))[1]


@pytest.fixture
def copied(raw, tmp_path):
    return shutil.copytree(raw, tmp_path / "copy")


@pytest.fixture
def cli(monkeypatch, capsys, private_data):
    return in_process(monkeypatch, capsys, main, PreprocessOptions)


def test_test_artists_are_wholly_new_and_the_files_fit(opened):
    songs, artists = read_items(opened, SONGS), read_items(opened, ARTISTS)
    assert not set(songs.train_artists) & set(songs.test_artists)
    assert songs.counts["cold_start_artists"] == songs.counts["test_artists"] == len(artists.test) == 5
    assert songs.factors.shape == (38, 4) and songs.plays.shape == (10, len(songs.user_factors))
    assert read_users(opened, len(songs.user_factors))[0].startswith("u")
    for part, ids in (("train", songs.train), ("test", songs.test)):
        rows = owner_rows(opened, songs, part)
        names = opened.load_index(part, ARTISTS)
        of_song = opened.load_artists_of_songs()
        assert [names[row] for row in rows] == [of_song[song] for song in ids]


def test_texts_are_fitted_to_the_training_artists_alone(opened):
    for text in ("a-text", "a-sem", "a-tags"):
        train, test = (opened.load_text(part, text) for part in ("train", "test"))
        terms = TfIdf.load(tfidf_path(opened, text)).terms
        assert train.shape[1] == test.shape[1] == len(terms)
        assert (np.asarray((train > 0).sum(axis=0)).ravel() > 0).all()  # no term of test artists only


def test_every_song_has_a_patch_and_what_is_wrong_with_clips_is_counted(opened):
    for part, rows in (("train", 38), ("test", 10)):
        patches = read_patches(opened, part, "corrected", rows)
        assert patches.shape == (rows, 86, 96) and np.isfinite(patches[np.arange(rows)]).all()
    counts = read_sealed(opened.sound / "meta.json")["meta"]["counts"]
    assert counts["clips"].startswith("48 tracks") and "silent" in counts["clips"] and "failed" in counts["clips"]


def test_what_is_there_stays_and_what_has_changed_is_made_anew(cli, copied, tmp_path):
    out = tmp_path / "out"
    status, stdout, err = cli("--data-dir", copied, "--out", out, *OPTIONS)
    assert status == 0, err
    assert "synthetic" in stdout and "48 tracks" in stdout

    def times():
        return {path.name: path.stat().st_mtime_ns for path in out.rglob("*.np*")}

    before = times()
    assert cli("--data-dir", copied, "--out", out, *OPTIONS)[0] == 0
    assert times() == before
    with (copied / "tags.tsv").open("a") as file:
        file.write("AR0001\tquite new\t3\n")
    assert cli("--data-dir", copied, "--out", out, *OPTIONS)[0] == 0
    changed = {name for name, time in times().items() if time != before[name]}
    assert changed and all(name.startswith("X_") for name in changed)


def test_what_is_copied_is_what_was_made(cli, raw, opened, tmp_path):
    assert cli("--data-dir", raw, "--out", tmp_path, *OPTIONS)[0] == 0
    _, copied = open_dataset(tmp_path, PrepareOptions())
    ours, theirs = read_items(opened, SONGS), read_items(copied, SONGS)
    assert ours.train == theirs.train and ours.fingerprint == theirs.fingerprint
    for part, ids in (("train", ours.train), ("test", ours.test)):
        rows = np.arange(len(ids))
        pairs = [read_patches(layout, part, "corrected", len(ids))[rows] for layout in (opened, copied)]
        np.testing.assert_array_equal(*pairs)
        assert abs(opened.load_text(part) - copied.load_text(part)).nnz == 0


def test_a_text_that_is_there_no_more_is_not_used_any_more(cli, copied, tmp_path):
    out = tmp_path / "out"
    assert cli("--data-dir", copied, "--out", out, "--parts", "text")[0] == 0
    assert any("tags" in path.name for path in out.rglob("X_*"))
    (copied / "tags.tsv").unlink()
    assert cli("--data-dir", copied, "--out", out, "--parts", "text")[0] == 0
    assert not any("tags" in path.name for path in out.rglob("X_*"))


def test_every_row_of_the_files_is_told_of(cli, raw, copied):
    def rows(name):
        return len((raw / name).read_text("utf-8").splitlines()) - 1

    status, stdout, err = cli("--data-dir", raw, *OPTIONS, "--json")
    assert status == 0, err
    found = json.loads(stdout)
    files = {name: rows(name) for name in ("songs.tsv", "plays.tsv", "tags.tsv", "entities.tsv")}
    assert found["files"] == {name: {"rows": n, "used": n, "left_out": {}} for name, n in files.items()}
    assert found["parts"]["train"]["songs"] == 38 and found["parts"]["test"] == {
        "artists": 5, "songs": 10, "plays": files["plays.tsv"] - found["parts"]["train"]["plays"],
    }  # fmt: skip
    status, stdout, _ = cli("--data-dir", raw, *OPTIONS)
    assert status == 0 and f"plays.tsv: {files['plays.tsv']:,} rows = {files['plays.tsv']:,} used" in stdout
    text = (copied / "plays.tsv").read_text("utf-8").replace("\n", "\n\n", 1).replace("SO000", '"SO000')
    (copied / "plays.tsv").write_text(text)
    (copied / "songs.tsv").write_text((copied / "songs.tsv").read_text("utf-8").replace("\nSO000", '\n"SO000'))
    quoted = json.loads(cli("--data-dir", copied, *OPTIONS, "--parts", "factors", "--json")[1])
    assert quoted["parts"] == found["parts"] and quoted["files"]["plays.tsv"].pop("blank_lines") == 1
    assert quoted["files"] == {name: found["files"][name] for name in ("songs.tsv", "plays.tsv")}


def test_parts_can_be_chosen(cli, raw, tmp_path):
    status, _, err = cli("--data-dir", raw, "--out", tmp_path, *OPTIONS, "--parts", "text", "audio")
    assert status == 0 and set(read_state(tmp_path)) == {"text", "audio corrected"}, err
    assert np.load(tmp_path / "patches/test/patches.npy").shape == (10, 86, 96)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("plays.tsv", "user_id\tsong_id\tplays\nu1\tSO00001\t0\n", "plays.tsv"),
        ("plays.tsv", "user_id\tsong_id\tplays\nu1\tnobody\t1\n", "nobody"),
        ("songs.tsv", "song_id\nSO00001\n", "artist_id"),
        ("songs.tsv", "song_id\tsong_id\tartist_id\nS1\tS2\tA\n", "twice"),
        ("tags.tsv", "artist_id\ttag\tcount\nnobody\trock\t1\n", "nobody"),
    ],
)
def test_wrong_tables_end_in_one_line(file, text, message, cli, copied, tmp_path):
    (copied / file).write_text(text)
    status, _, err = cli("--data-dir", copied, "--out", tmp_path / "out", *OPTIONS)
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and message in err


def test_folders_without_data_or_with_made_data_are_refused(cli, tmp_path, opened):
    for folder, message in ((tmp_path, "holds neither"), (opened.folder, "holds dlrs-data already")):
        status, _, err = cli("--data-dir", folder)
        assert status == 2 and message in err
    with pytest.raises(UserError, match="no such folder"):
        open_dataset(tmp_path / "none", PrepareOptions())
    with pytest.raises(UserError, match="4 factors"):
        open_dataset(opened.folder, PrepareOptions(factors=7))


def test_two_splits_of_one_folder_at_once_each_have_their_own_data(copied, private_data):
    """Runs that go on while others prepare the same folder for another split: seen were figures of neither split."""
    first = open_dataset(copied, PrepareOptions(factors=4, jobs=1))[1]
    items, patches = read_items(first, SONGS), read_patches(first, "train", "corrected", 38)
    before = patches[np.arange(38)]
    second = open_dataset(copied, PrepareOptions(factors=4, jobs=1, split_seed=2))[1]
    others = read_items(second, SONGS)
    assert items.train != others.train and items.fingerprint != others.fingerprint
    assert first.sound == second.sound  # sound knows no split: it is extracted once
    for layout, found in ((first, items), (second, others)):
        again = read_items(layout, SONGS)
        assert again.train == found.train and np.array_equal(again.factors, found.factors)
        assert again.fingerprint == found.fingerprint and (again.plays != found.plays).nnz == 0
    np.testing.assert_array_equal(patches[np.arange(38)], before)
    of = {song: row for row, song in enumerate(items.train)}
    both = [song for song in others.train if song in of]
    theirs = read_patches(second, "train", "corrected", len(others.train))[np.flatnonzero(np.isin(others.train, both))]
    np.testing.assert_array_equal(theirs, before[[of[song] for song in both]])


def test_a_part_changes_with_its_own_files_alone(copied):
    def parts():
        layout = open_dataset(copied, PrepareOptions(factors=4, jobs=1), PARTS)[1]
        return {"factors": layout.folder, "text": layout.texts, "audio": layout.sound}

    before = parts()
    biography = next(iter(sorted((copied / "biographies").iterdir())))
    biography.write_text("Somebody else's life.")
    after = parts()
    assert [part for part in before if before[part] != after[part]] == ["text"]
    clip = next(iter(sorted((copied / "clips").glob("*.*"))))
    clip.write_bytes(clip.read_bytes()[:-2])
    assert [part for part, folder in parts().items() if folder != after[part]] == ["audio"]

"""Recommending from a run directory: the right songs, new users and songs, and one clear line for every mistake."""

import gzip
import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from common.command import parse
from common.options import UserError
from common.paper import WEIGHTS
from common.row_counts import UNNEEDED
from common.testing import reseal
from common.vocabulary import digest, save_vocabulary
from common.weights import save_own_weights
from dtnmr.dataset import columns, of_users, read_data, save_data
from dtnmr.evaluation import Scorer
from dtnmr.kkbox import read_titles
from dtnmr.model import Networks
from dtnmr.options import Architecture
from dtnmr.recommend import RecommendOptions, main
from dtnmr.testing import rows_of, tiny_data
from dtnmr.weights import load_model

DATA = tiny_data()
SONGS = "song_id,song_length,genre_ids,artist_name,composer,lyricist,language\n"


def write_run(folder, data=DATA, **settings):
    """A run directory as train.py leaves it; returns its model."""
    sizes = {"embedding": 4, "mlp": (6,), "lstm": 5, "lstm_layers": 1} | settings
    architecture = Architecture(DATA.song_width, DATA.user_width, len(DATA.values["behaviour"]), **sizes)
    model = Networks(architecture, seed=3)
    save_own_weights(folder / WEIGHTS, model.whole)
    facts = {"architecture": asdict(architecture), "dataset": {"fingerprint": DATA.fingerprint}}
    (folder / "options.json").write_text(json.dumps(facts | {"options": {}, "vocabulary": digest(columns(DATA))}))
    save_vocabulary(folder, columns(DATA))
    save_data(folder, data)
    return model


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, write_run(folder)


@pytest.fixture
def run(tmp_path):
    """A run directory that may be damaged."""
    return tmp_path, write_run(tmp_path)


def recommend(folder, *arguments):
    return main(parse(RecommendOptions, ["--run-dir", str(folder), *map(str, arguments)]))


def best_by_hand(model, history, behaviours, bits, count):
    scores = Scorer(model, DATA).scores(rows_of([history]), rows_of([behaviours]), rows_of([bits]))[0].copy()
    scores[list(history)] = -np.inf
    return [(f"s{song}", pytest.approx(scores[song], abs=1e-6)) for song in np.argsort(-scores)[:count]]


def listed(found):
    return [(one["song"], one["score"]) for one in found["recommended"]]


def test_a_user_of_the_dataset_gets_the_best_songs_not_heard_in_training(finished, capsys):
    folder, model = finished
    everybody = of_users(DATA)
    found = recommend(folder, "--user", "u7", "--top-k", 5, "--json")
    history = everybody.histories[7]
    assert found["heard"] == [f"s{song}" for song in history]
    assert listed(found) == best_by_hand(model, history, everybody.behaviours[7], DATA.user_bits[7], 5)
    assert json.loads(capsys.readouterr().out) == found
    longer = recommend(folder, "--user", "u7", "--songs", *(f"s{s}" for s in range(36) if s not in history), "--json")
    assert longer["recommended"] == [] and len(longer["heard"]) == 36


def test_a_new_user(finished, capsys):
    folder, model = finished
    found = recommend(folder, "--age", 30, "--gender", "male", "--city", 1, "--history", "s3", "s9", "--top-k", 3)
    assert listed(found) == best_by_hand(model, [3, 9], [-1, -1], [1, 5, 6], 3)
    out = capsys.readouterr().out
    assert "a new user after 2 songs" in out and "artist" in out and found["recommended"][0]["song"] in out
    without = recommend(folder, "--gender", "female")
    assert listed(without) == best_by_hand(model, [], [], [4], 10)


def test_unknown_songs_and_values_are_named_and_skipped(finished, capsys):
    folder, model = finished
    found = recommend(folder, "--age", 99, "--songs", "s3", "nobody", "s9", "--json")
    assert found["skipped"] == ["nobody"] and found["heard"] == ["s3", "s9"]
    assert listed(found) == best_by_hand(model, [3, 9], [-1, -1], [], 10)
    err = capsys.readouterr().err
    assert "nobody is not among the songs" in err and "--age 99: no user" in err and err.count("\n") == 2


def test_new_songs_are_ranked_by_their_metadata(finished, tmp_path, capsys):
    """A copy of a song's metadata scores as the song does; unknown values are named and left out."""
    folder, _ = finished
    file = tmp_path / "new.csv"
    length = round(float(DATA.lengths[4]) * DATA.longest_length * 1000)
    file.write_text(
        SONGS + f"n1,{length},g1,artist 04,composer 2,,52.0\nn2,{length},g1|g9,artist 04| nobody,composer 2,,52\n"
        f"s5,{length},g1,artist 04,composer 2,,52\n"
    )
    found = recommend(folder, "--age", 20, "--songs", "s3", "--new-songs", file, "--top-k", 99, "--json")
    scores = dict(listed(found))
    assert len(scores) == 37 and {one["song"] for one in found["recommended"] if one["new"]} == {"n1", "n2", "s35"}
    assert scores["n1"] == pytest.approx(scores["n2"]) and found["recommended"][0]["artists"]
    err = capsys.readouterr().err
    assert "songs skipped, as they are among those of the run already: 1, such as 's5'" in err
    assert "values of genre left out, as the run does not know them: 1, such as 'g9'" in err
    assert "values of artist left out, as the run does not know them: 1, such as 'nobody'" in err
    heard = recommend(folder, "--songs", "n1", "--new-songs", file, "--json")
    assert heard["heard"] == ["n1"] and "n1" not in dict(listed(heard))


def test_unknown_values_of_many_new_songs_are_summed_up(finished, tmp_path, capsys):
    file = tmp_path / "new.csv"
    file.write_text(SONGS + "".join(f"n{n},200000,x{n % 7}|g1,artist {n},|composer 2,,{n % 3}\n" for n in range(300)))
    recommend(finished[0], "--age", 20, "--new-songs", file, "--json")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4, lines
    assert lines[0].endswith(
        "values of genre left out, as the run does not know them: 300 (7 different ones), such as 'x0', 'x1', 'x2'"
    )
    assert "artist left out, as the run does not know them: 298, such as 'artist 0'" in lines[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("song_id,genre_ids\nn1,g1\n", "line 1: the columns .* are missing"),
        (SONGS, "holds no song that the run does not have"),
        (SONGS + "n1,long,g1,a,c,,52\n", "n1: the length is 'long'"),
        (SONGS + "n1,-5,g1,a,c,,52\n", "n1: the length is '-5'"),
        (SONGS + "n1,1e300,g1,a,c,,52\n", "n1: the length is '1e300'; expected milliseconds, a day at most"),
        (SONGS + "n1,5,g1\n", "line 2"),
        ("", "is empty"),
    ],
)
def test_wrong_files_of_new_songs(finished, tmp_path, content, message):
    file = tmp_path / "new.csv"
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        recommend(finished[0], "--age", 20, "--new-songs", file)


def test_odd_lines_of_new_songs_are_told(finished, tmp_path, capsys):
    file = tmp_path / "new.csv"
    file.write_text(SONGS + 'n1,200000,g1,"some\nbody",c,,52.0\nn1,100000,g2,a,c,,52\n,100000,g2,Bo,c,,52\n')
    found = recommend(finished[0], "--age", 20, "--new-songs", file, "--top-k", 99)
    songs = [one["song"] for one in found["recommended"]]
    assert songs.count("n1") == 1 and "" not in songs
    err = capsys.readouterr().err
    assert "songs skipped, as they have no id; their artists: 1, such as 'Bo'" in err
    assert (
        "songs skipped, as they are listed again: 1, such as 'n1'" in err
        and "\\x1f" not in err
        and "language" not in err
    )


def test_ids_that_are_no_text_are_skipped_and_printed_as_json(finished, capsys):
    recommend(finished[0], "--songs", "s1", "\udcff", "--json")
    assert json.loads(capsys.readouterr().out)["skipped"] == ["\udcff"]


def test_titles_where_the_dataset_has_them(tmp_path, capsys):
    raw, run = tmp_path / "raw", tmp_path / "run"
    raw.mkdir(), run.mkdir()
    rows = "".join(f"s{song},[red]Title {song}[/],X\n" for song in range(36)) + "other,No,X\n"
    info = raw / "song_extra_info.csv"
    info.write_text("song_id,name,isrc\n" + rows)

    def titles_of(file, songs, **options):
        return read_titles({"song_extra_info": file}, songs, **options)

    found = titles_of(info, set(DATA.song_ids))
    assert found["s3"] == "[red]Title 3[/]" and "other" not in found
    write_run(run, replace(DATA, titles=found))
    best = recommend(run, "--user", "u1", "--top-k", 2)["recommended"]
    assert best[0]["title"].startswith("[red]Title ") and "[red]Title " in capsys.readouterr().out
    info.write_text(info.read_text().replace("s5,", 's5,"').replace("s9,", 's9,"'))  # whatever comes between is lost
    with pytest.raises(UserError, match=r"song_extra_info\.csv, line 7: a quotation mark opens a value"):
        titles_of(info, {"s3"})
    info.write_text("song_id,name,isrc\n" + rows)
    packed = raw / "song_extra_info.csv.gz"
    packed.write_bytes(gzip.compress((raw / "song_extra_info.csv").read_bytes()))
    counts = {}
    assert titles_of(packed, {"s3"}, counts=counts) == {"s3": "[red]Title 3[/]"}
    part = "song_extra_info: "
    assert counts[f"{part}used"] == 1 and counts[part + UNNEEDED] == counts[f"{part}rows"] - 1 == 36
    packed.write_bytes(b"no archive")
    with pytest.raises(UserError, match="is damaged"):
        titles_of(packed, set())
    info.write_text("song_id,name\n101.0,One\n7.0,Two\n")  # as pandas writes integers where others are missing
    assert titles_of(info, {"101"}) == {"101": "One"}
    assert titles_of(info, {"101.0"}, exact=True) == {"101.0": "One"}
    info.write_text("song_id,isrc\n")
    with pytest.raises(UserError, match="line 1: the column name is missing"):
        titles_of(info, set())


def test_what_a_run_keeps_is_what_it_was_trained_on(run):
    folder, model = run
    data = read_data(folder)
    assert columns(data) == columns(DATA) and data.song_ids == DATA.song_ids
    again = load_model(folder / WEIGHTS, data)
    for name, variable in model.named.items():
        np.testing.assert_array_equal(np.asarray(again.named[name]), np.asarray(variable))
    save_data(folder, DATA)  # once more, as a resumed run does
    assert read_data(folder).fingerprint == DATA.fingerprint


def test_many_users_at_once_score_as_one_by_one(finished):
    scorer, everybody = Scorer(finished[1], DATA), of_users(DATA)
    whole = scorer.scores(everybody.histories, everybody.behaviours, DATA.user_bits)
    for user in (0, 11, 39):
        one = everybody.take(np.array([user]))
        single = scorer.scores(one.histories, one.behaviours, rows_of([DATA.user_bits[user]]))
        np.testing.assert_allclose(single[0], whole[user], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--user", "nobody"), "--user nobody: not among the 40 users"),
        (("--songs", "nobody"), "nothing that is told of the user is known"),
        ((), "nobody to recommend to"),
        (("--user", "u1", "--age", 20), "leave out --age"),
        (("--user", "u1", "--top-k", 0), "--top-k is 0"),
        (("--user", "u1", "--new-songs", "/no/such"), "no such file"),
    ],
)
def test_options_that_do_not_fit(finished, arguments, message):
    with pytest.raises(UserError, match=message):
        recommend(finished[0], *arguments)


@pytest.mark.parametrize("folder", [None, "/no/such"])
def test_no_run(folder):
    with pytest.raises(UserError, match="--run-dir"):
        parse(RecommendOptions, ["--user", "u1", *(["--run-dir", folder] if folder else [])])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("options.json", None, "cannot be read"),
        ("options.json", '{"options": {}}', "not of a training run"),
        ("options.json", '{"options": {}, "dataset": {"fingerprint": "x"}}', "of another run"),
        ("data/meta.json", None, "missing, damaged or of another run"),
        ("data/lengths.npy", "no array", "missing, damaged or of another run"),
        ("data/texts.json", "{", "missing, damaged or of another run"),
        (WEIGHTS, None, "the run is not finished"),
        (WEIGHTS, "no weights", "do not fit"),
        ("vocabulary.json", "[]", "cannot be read"),
    ],
)
def test_a_run_that_is_not_whole(run, file, content, message):
    folder, _ = run
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    with pytest.raises(UserError, match=message):
        recommend(folder, "--user", "u1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"lstm": 0}, {"lstm": "x"}, {"lstm": 10**9}, {"lstm": True}, {"mlp": []}, {"mlp": 5}, {"mlp": [4.0]},
        {"rating": "cosine"}, {"rating": None}, {"final_relu": 1}, {"dropout": 1}, {"song_width": 3}, {"other": 1},
    ],
)  # fmt: skip
def test_a_damaged_architecture(run, wrong):
    folder, _ = run
    content = json.loads((folder / "options.json").read_text())
    content["architecture"] |= wrong
    (folder / "options.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"options.json: (not of a training run|its architecture)"):
        recommend(folder, "--user", "u1")


def test_other_columns_than_the_weights_were_trained_on(run):
    folder, _ = run
    texts = json.loads((folder / "data" / "texts.json").read_text())
    texts["values"]["genre"] = texts["values"]["genre"][::-1]
    (folder / "data" / "texts.json").write_text(json.dumps(texts))
    reseal(folder / "data")
    with pytest.raises(UserError, match="has other columns than the run was trained on"):
        recommend(folder, "--user", "u1")


def test_a_diverged_or_dead_model_says_so(run, capsys):
    folder, model = run
    for name in ("song.1.kernel", "song.1.bias"):
        model.named[name].assign(np.zeros(model.named[name].shape, np.float32))
    save_own_weights(folder / WEIGHTS, model.whole)
    found = recommend(folder, "--user", "u1", "--json")
    assert "all songs alike" in capsys.readouterr().err and len(found["recommended"]) == 10
    model.named["song.1.bias"].assign(np.full(4, np.nan, np.float32))
    save_own_weights(folder / WEIGHTS, model.whole)
    with pytest.raises(UserError, match="finite"):
        recommend(folder, "--user", "u1")

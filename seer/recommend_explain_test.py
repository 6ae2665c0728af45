"""The command ``python seer/recommend_explain.py`` as a user runs it: golden data, runs, new users, mistakes."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.command import parse, run_script
from common.options import PROJECT
from seer import train
from seer.explain import Explanation, Windows
from seer.new_user import Person, SongRatings
from seer.options import RecommendOptions, SeerOptions
from seer.presentation.answer import Recommended, personal_note, print_recommendations
from seer.recommend_explain import main

NOISE = ("WARNING", "absl", "cuda", "Traceback", "Warning", "oneDNN")

TINY = ("--epochs", 1, "--sequence-length", 6, "--latent-features", 3, "--no-baselines", "--deterministic")


@pytest.fixture(autouse=True)
def float32():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def cli(monkeypatch, capsys, private_data):
    """Run a script of SeER in this process: exit status, stdout, stderr."""

    def run(*arguments, script=main, options=RecommendOptions):
        monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
        try:
            run_script(script, options)
            status = 0
        except SystemExit as stop:
            status = stop.code
        return (status, *capsys.readouterr())

    return run


def found_in(folder):
    return json.loads((folder / "recommendations.json").read_text("utf-8"))


@pytest.fixture
def golden(golden_seer):
    def arguments(cell):
        (path,) = (golden_seer / "weights").glob(f"SeER_{cell}_*.h5")
        return ["--data-dir", golden_seer / "Data", "--weights", path]

    return arguments


@pytest.mark.slow
@pytest.mark.golden
@pytest.mark.parametrize(("cell", "block"), [("LSTM", "with_trained_dense"), ("GRU", "as_released")])
def test_released_protocol_gives_the_released_table(cli, golden, golden_seer, tmp_path, cell, block):
    expected = json.loads((golden_seer / "expected" / f"explanations_{cell}.json").read_text("utf-8"))[block]
    for user, songs in list(expected["recommendations"].items())[:2]:
        output = tmp_path / user
        arguments = [*golden(cell), "--protocol", "released", "--user_number", user, "--no-audio", "--output", output]
        status, out, err = cli(*arguments)
        assert (status, err) == (0, "")
        found = found_in(output)
        assert found["user"] == int(user) and len(found["recommendations"]) == len(songs)
        for ours, theirs in zip(found["recommendations"], songs, strict=True):
            assert {key: ours[key] for key in ("song", "song_id", "title")} == {
                key: theirs[key] for key in ("song", "song_id", "title")
            }
            assert ours["rating"] == pytest.approx(theirs["rating"], abs=1e-5)
            ratings = sorted(segment["rating"] for segment in ours["segments"])
            if ratings[-1] - ratings[-2] > 1e-4:
                assert (ours["start_us"], ours["end_us"]) == (theirs["start_us"], theirs["end_us"])
                # as the released code prints them
                assert f"({theirs['start_us']}, {theirs['end_us']})" in (output / "index.html").read_text()
            assert theirs["title"][:20] in out


@pytest.mark.slow
@pytest.mark.golden
def test_corrected_protocol_leaves_out_what_the_user_rated(cli, golden, seer_golden_data, tmp_path):
    user = int(np.bincount(seer_golden_data.users).argmax())  # who rated most of what is recommended
    rated = set(seer_golden_data.songs[seer_golden_data.users == user].tolist())
    found = {}
    for flags in ((), ("--exclude-rated",), ("--include-rated",)):
        output = tmp_path / "-".join(("out", *flags))
        cli(*golden("GRU"), "--user_number", user, "--top-k", 6, "--no-audio", "--output", output, *flags)
        found[flags] = found_in(output)["recommendations"]
        assert bool({one["song"] for one in found[flags]} & rated) == ("--include-rated" in flags)
    assert found[()] == found[("--exclude-rated",)]


@pytest.mark.golden
@pytest.mark.parametrize(("cell", "word", "rankings"), [("LSTM", "Not personal", 1), ("GRU", "Personal", 200)])
def test_it_says_with_numbers_whether_the_list_is_personal(cli, golden, tmp_path, cell, word, rankings):
    status, out, _ = cli(*golden(cell), "--user-number", 3, "--top-k", 2, "--no-audio", "--output", tmp_path / "out")
    assert status == 0 and word in out
    facts = found_in(tmp_path / "out")["personalisation"]
    assert facts["users_compared"] == 200 and facts["distinct_rankings"] == rankings
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert word in page and "Two songs for user 3" in page


@pytest.mark.golden
def test_titles_are_shown_as_they_are(seer_golden_data, capsys):
    nothing = Windows(*np.zeros((4, 0)))
    titles = [":smile: [bold]loud[/bold]", "\x1b[31mred\x07", "<script>", "مرحبا 🎵"]
    songs = seer_golden_data.song_information.assign(title=lambda old: [*titles, *old["title"][4:]])
    data = replace(seer_golden_data, song_information=songs)
    found = [Recommended(song, 3.0, Explanation(song, nothing, np.zeros(0), None), 0) for song in range(4)]
    print_recommendations("Four songs", found, data)
    out = capsys.readouterr().out
    words = [word for title in (titles[0], r"\x1b[31mred\x07", *titles[2:]) for word in title.split()]
    assert all(word in out for word in words) and "\x1b" not in out  # a long title is broken at a blank


@pytest.mark.slow
@pytest.mark.golden
def test_a_new_user_with_the_ratings_of_a_known_one_gets_much_of_the_same(cli, golden, seer_golden_data, tmp_path):
    """Not all: the trained users had dropout and noise of their own."""
    user = 5
    rows = seer_golden_data.users == user
    ids = seer_golden_data.song_information["song_id"].to_numpy()[seer_golden_data.songs[rows]]
    lines = [f"{song},{rating:g}\n" for song, rating in zip(ids, seer_golden_data.ratings[rows], strict=True)]
    mine = tmp_path / "mine.csv"
    mine.write_text("song_id,rating\n" + "".join(lines))
    status, _, err = cli(*golden("GRU"), "--ratings", mine, "--top-k", 10, "--no-audio", "--output", tmp_path / "new")
    assert (status, err) == (0, "")
    cli(*golden("GRU"), "--user-number", user, "--top-k", 10, "--no-audio", "--output", tmp_path / "old")
    new, old = found_in(tmp_path / "new"), found_in(tmp_path / "old")
    assert new["user"] is None
    songs = [{one["song"] for one in found["recommendations"]} for found in (new, old)]
    assert len(songs[0] & songs[1]) >= 4
    assert not songs[0] & set(seer_golden_data.songs[rows].tolist())


@pytest.mark.parametrize(("found", "sections", "words"), [(5, 88, "17.6 different"), (2, 2, "1 section"), (2, 0, "0 ")])
def test_the_note_says_on_average_how_many_sections(found, sections, words):
    facts = {"users_compared": 3, "songs": 9, "distinct_rankings": 3, "distinct_sections": sections}
    facts |= {"recommended": found, "level": -0.5, "shared_with_average_top5": 2}
    note = personal_note(Person("user 1", np.zeros(2), SongRatings(np.zeros(0, int), np.zeros(0))), facts, "dot")
    assert f"on average {words}" in note and "0.50 below" in note


@pytest.mark.slow
def test_a_fresh_checkout_recommends_with_pictures_and_sound(tmp_path, private_data):
    output = tmp_path / "out"
    command = [sys.executable, "seer/recommend_explain.py", "--user_number", "12", "--output", str(output)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert not any(word in done.stdout for word in NOISE) and "synthetic" in done.stdout
    found = found_in(output)
    assert found["dataset"]["synthetic"] and len(found["recommendations"]) == 5
    for rank, one in enumerate(found["recommendations"], 1):
        assert one["end_us"] - one["start_us"] == pytest.approx(10e6)
        (chosen,) = (segment for segment in one["segments"] if segment["start_us"] == one["start_us"])
        assert chosen["rating"] >= max(segment["rating"] for segment in one["segments"]) - 1e-6
        for kind, least in (("png", 20_000), ("wav", 400_000), ("mid", 100)):
            assert (output / f"{rank}.{kind}").stat().st_size > least
    names = {path.name for path in output.iterdir()}
    assert names == {"index.html", "recommendations.json"} | {
        f"{n}.{k}" for n in range(1, 6) for k in ("png", "wav", "mid")
    }
    again = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)  # replaces its own
    assert again.returncode == 0 and found_in(output) == found


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    from seer.train_test import write_raw

    return write_raw(tmp_path_factory.mktemp("raw") / "tiny")


@pytest.fixture(scope="module")
def trained(raw, tmp_path_factory, private_data):
    """A finished run on a tiny dataset; tracing TensorFlow's functions takes longer than the run itself."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    tf.config.run_functions_eagerly(True)
    train.main(parse(SeerOptions, [*map(str, ("--data-dir", raw, *TINY, "--run-dir", run_dir))]))
    tf.config.run_functions_eagerly(False)
    return run_dir


@pytest.fixture
def finished(trained, tmp_path):
    """The run, to be spoilt."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.mark.usefixtures("eagerly")
def test_a_run_brings_its_dataset_along(cli, finished, tmp_path):
    status, out, err = cli("--run-dir", finished, "--no-audio", "--output", tmp_path / "out")
    assert status == 2 and "has rated all songs" in err  # every user rated every song
    status, out, err = cli("--run-dir", finished, "--include-rated", "--no-audio", "--output", tmp_path / "out")
    assert (status, err) == (0, "")
    assert "Five songs for user 0" in out and found_in(tmp_path / "out")["user"] == 0


@pytest.mark.usefixtures("eagerly")
def test_mistakes_end_in_one_line(cli, finished, raw, golden, golden_seer, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "options.json").write_text(json.dumps({"options": {}, "paper": "gru4rec"}))
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "options.json").write_text((finished / "options.json").read_text())
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("keep me")
    broken = tmp_path / "midi"
    broken.mkdir()
    for song in range(12):
        (broken / f"{song}.mid").write_bytes(b"MThd\0\0\0\6\0\1")
    ratings = tmp_path / "mine.csv"
    ratings.write_text("song_id,rating\nNOBODY,3\n")
    run = ["--run-dir", finished, "--include-rated"]
    cases = [
        ([*run, "--user_number", 25], "numbered 0..24"),
        ([*run, "--user_number", -1], "numbered 0..24"),
        ([*run, "--top-k", 13], "has 12 songs"),
        ([*run, "--top-k", 0], "--top-k is 0"),
        ([*run, "--section-seconds", 0], "--section-seconds is 0"),
        ([*run, "--variant", "dot"], "holds a concat model"),
        ([*run, "--exclude-rated"], "exclude each other"),
        ([*run, "--weights", finished / "model.weights.h5"], "leave out --weights"),
        ([*run, "--ratings", ratings], "'NOBODY'"),
        ([*run, "--ratings", ratings, "--user_number", 1], "one of them"),
        ([*run, "--ridge", 1], "--ridge belongs to --ratings"),
        ([*run, "--ratings", ratings, "--ridge", "inf"], "--ridge is inf"),
        ([*run, "--output", full / "thesis.txt" / "out", "--no-audio"], "thesis.txt"),
        ([*run, "--output", tmp_path / ("y" * 300), "--no-audio"], "File name too long"),
        ([*run, "--soundfont", tmp_path / "none.sf2"], "none.sf2: no such file"),
        ([*run, "--midi-dir", broken, "--no-audio"], "is cut off in its header"),
        ([*run, "--midi-dir", tmp_path / "none"], "no such folder"),
        ([*run, "--output", full, "--no-audio"], "holds something else"),
        (["--data-dir", raw], "--data-dir needs the model"),
        (["--run-dir", other], "not a run of seer/train.py"),
        (["--run-dir", unfinished], "not finished"),
        (["--run-dir", full], "options.json"),
        (["--run-dir", tmp_path / "none"], "no such folder"),
        (["--weights", tmp_path / "none.h5"], "no such file"),
        (["--data-dir", raw, *golden("GRU")[2:]], "holds 200 users but the dataset has 25"),
    ]
    for arguments, words in cases:
        output = [] if "--output" in arguments else ["--output", tmp_path / "out"]
        status, _, err = cli(*arguments, *output)
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and words in err, (arguments, err)
        assert not (tmp_path / "out").exists()
    assert [path.name for path in full.iterdir()] == ["thesis.txt"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.usefixtures("eagerly")
def test_files_of_others_beside_recommendations_are_kept(cli, finished, tmp_path):
    output = tmp_path / "out"
    run = ["--run-dir", finished, "--include-rated", "--no-audio", "--top-k", 1, "--output", output]
    assert cli(*run)[0] == 0
    (output / "mine.csv").write_text("song_id,rating\nS00,3\n")
    before = sorted(path.name for path in output.iterdir())
    status, _, err = cli(*run, "--ratings", output / "mine.csv")
    assert status == 2 and "'mine.csv'" in err
    assert sorted(path.name for path in output.iterdir()) == before


@pytest.mark.usefixtures("eagerly")
def test_output_may_be_the_current_folder_or_a_link(cli, finished, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = ["--run-dir", finished, "--include-rated", "--no-audio", "--top-k", 2]
    for output in (tmp_path / "link", ".", tmp_path / "link"):
        status, _, err = cli(*run, "--output", output)
        assert (status, err) == (0, "")
    assert found_in(tmp_path / "real")["recommendations"] == found_in(tmp_path / "here")["recommendations"]
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("architecture", "num_users"), "25", "num_users is '25'"),
        (("architecture", "num_users"), 24, "24 users"),
        (("architecture", "sequence_length"), 11, "11 steps"),
        (("architecture", "latent_features"), 10**12, "latent_features is 1000000000000"),
        (("architecture", "latent_features"), 4, "do not fit"),
        (("architecture", "cell"), ["lstm"], "cell is ['lstm']"),
        (("architecture", "midi_scale"), None, "midi_scale is None"),
        (("architecture",), None, "not a run of seer/train.py"),
        (("architecture",), ["variant", "latent_features"], "not a run of seer/train.py"),
        (("dataset",), None, "not a run of seer/train.py"),
        (("dataset",), {"name": "tiny"}, "not a run of seer/train.py"),
        (("dataset", "fingerprint"), 5, "has changed since"),
        (("options", "data_dir"), 5, "data_dir is 5"),
        (("options", "data_dir"), "/no/such/folder", "no such folder; name it with --data-dir"),
    ],
)
def test_an_edited_run_is_told_in_one_line(cli, finished, tmp_path, place, value, words):
    run = json.loads((finished / "options.json").read_text())
    *folders, last = place
    part = run
    for folder in folders:
        part = part[folder]
    part[last] = value
    (finished / "options.json").write_text(json.dumps(run))
    status, _, err = cli("--run-dir", finished, "--include-rated", "--no-audio", "--output", tmp_path / "out")
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and words in err, err
    assert "options.json" in err or "model.weights.h5" in err


@pytest.mark.usefixtures("eagerly")
def test_a_file_of_ratings_may_have_any_name(cli, finished, tmp_path):
    ratings = tmp_path / os.fsdecode(b"m\xffine" + b"x" * 200 + b".csv")
    ratings.write_text("song_id,rating\nS00,3\n")
    options = ["--run-dir", finished, "--include-rated", "--no-audio", "--top-k", 1, "--output", tmp_path / "out"]
    status, _, err = cli(*options, "--ratings", ratings)
    assert (status, err) == (0, "")
    assert found_in(tmp_path / "out")["name"].startswith("the author of m\N{REPLACEMENT CHARACTER}ine")


@pytest.mark.usefixtures("eagerly")
def test_a_song_without_notes_is_recommended_without_a_section(cli, raw, tmp_path):
    from seer.train_test import write_raw

    silent = write_raw(tmp_path / "silent")
    rows = json.loads((silent / "midi_array.txt").read_text())
    (silent / "midi_array.txt").write_text(json.dumps([[0] * len(row) for row in rows]))
    run_dir, output = tmp_path / "run", tmp_path / "out"
    cli("--data-dir", silent, *TINY, "--run-dir", run_dir, script=train.main, options=SeerOptions)
    status, _, err = cli("--run-dir", run_dir, "--include-rated", "--output", output)
    assert (status, err) == (0, "")
    assert [one["segments"] for one in found_in(output)["recommendations"]] == [[]] * 5
    assert found_in(output)["recommendations"][0]["start_us"] is None
    assert "no note" in (output / "index.html").read_text("utf-8")


def test_released_sections_that_run_backwards_are_told(cli, golden, golden_seer, tmp_path):
    expected = json.loads((golden_seer / "expected" / "explanations_GRU.json").read_text("utf-8"))["as_released"]
    backwards = [
        (user, rank, song)
        for user, songs in expected["recommendations"].items()
        for rank, song in enumerate(songs, 1)
        if song["start_us"] >= song["end_us"]
    ]
    for user, rank, song in backwards[:1]:
        status, _, _ = cli(
            *golden("GRU"), "--protocol", "released", "--user-number", user, "--output", tmp_path / "out"
        )
        assert status == 0
        assert "runs backwards" in (tmp_path / "out" / "index.html").read_text("utf-8")
        assert not (tmp_path / "out" / f"{rank}.wav").exists() and np.isfinite(song["rating"])

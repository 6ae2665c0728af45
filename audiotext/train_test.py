"""The command ``python audiotext/train.py`` as a user runs it: every network, resume, weights, mistakes."""

import shutil

import numpy as np
import pytest

from audiotext.kinds import KINDS, NAMES, TEXT_KINDS
from audiotext.options import AudioTextOptions
from audiotext.recommender import AudioText
from audiotext.testing import SIZES, TINY, small_collection
from audiotext.train import main
from common.testing import NOISE, arrays_of, in_process, metrics_of

FILES = {
    "options.json", "architecture.json", "metrics.json", "history.csv", "curves.png", "comparison.png", "report.md",
    "model.weights.h5", "predictions.npy", "predictions_index.tsv",
}  # fmt: skip


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return small_collection(tmp_path_factory.mktemp("raw"))


@pytest.fixture
def cli(monkeypatch, capsys, private_data, eagerly):
    return in_process(monkeypatch, capsys, main, AudioTextOptions)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder for runs that several tests read, and kind -> what its run printed."""
    return tmp_path_factory.mktemp("runs"), {}


@pytest.fixture
def trained(cli, raw, finished):
    """Train a network, if no test has done so: the folder of its run, which must stay as it is, stdout and stderr."""

    def run(kind):
        folder, printed = finished
        if kind not in printed:
            status, *printed[kind] = cli("--data-dir", raw, *TINY, "--model", kind, "--run-dir", folder / kind)
            assert status == 0, printed[kind]
        return folder / kind, *printed[kind]

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_every_network_leaves_a_whole_run(kind, trained):
    run, stdout, err = trained(kind)
    assert "synthetic" in stdout and not any(word in err for word in NOISE), err
    names = {path.name for path in run.iterdir()}
    assert names >= FILES and not any(name.startswith(".") for name in names)
    assert ("tfidf.json" in names) == (kind in TEXT_KINDS or kind in ("mm", "seed"))
    assert ("scaler.npz" in names) == (kind in ("audio", "mm"))
    found = metrics_of(run)
    assert found["dataset"]["rows"]["files"]["plays.tsv"]["left_out"] == {}
    tested = found["dataset"]["rows"]["parts"]["test"]["plays"]  # of songs
    assert kind in TEXT_KINDS or bool(found["warnings"]) == (tested < 100) == ("Warning: only" in stdout)
    assert all(f"**Warning:** {warning}." in (run / "report.md").read_text("utf-8") for warning in found["warnings"])
    for field in ("paper", "model", "protocol", "dataset", "split", "ranking", "ties", "metrics", "seconds", "seed"):
        assert found[field] not in (None, ""), field
    assert found["dataset"]["synthetic"] and found["dataset"]["fingerprint"] and found["dataset"]["counts"]["users"]
    names = set(found["baselines"])
    assert {"random", "popularity of the artist", "upper bound (true factors)"} <= names
    assert any(name.startswith("ridge regression") for name in names)
    assert set(found["details"]["branches"]) == {"text", "audio"} & {
        "text" if kind.startswith("mm-lf") else "",
        *(["audio"] if kind.startswith(("mm-lf", "seed")) else []),
    }
    for low, high in (ends for row in found["intervals"].values() for ends in row.values()):
        assert low <= high
    vectors = np.load(run / "predictions.npy")
    assert vectors.shape == (found["dataset"]["counts"]["test_items"], 4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_run_killed_after_its_branches_and_resumed_equals_an_uninterrupted_one(cli, trained, tmp_path):
    run, *_ = trained("mm-lf-lin")
    shutil.copytree(run, tmp_path / "parts")
    for name in ("checkpoint.npz", "metrics.json", "model.weights.h5", "audio/metrics.json"):
        (tmp_path / "parts" / name).unlink()
    status, _, err = cli("--epochs", 2, "--run-dir", tmp_path / "parts", "--resume")
    assert status == 0, err
    whole, parts = (arrays_of(path / "checkpoint.npz") for path in (run, tmp_path / "parts"))
    assert whole.keys() == parts.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(array, parts[name], err_msg=name)
    assert metrics_of(run)["metrics"] == metrics_of(tmp_path / "parts")["metrics"]


def test_weights_of_a_run_are_evaluated_alike_and_branches_are_reused(cli, raw, trained, tmp_path):
    base, (first, *_) = ("--data-dir", raw, *TINY, "--no-baselines"), trained("mm-lf-h1")
    weights = first / "model.weights.h5"
    again = ("--model", "mm-lf-h1", "--epochs", 0, "--weights", weights, "--run-dir", tmp_path / "again")
    status, _, err = cli(*base, *again)
    assert status == 0, err
    assert metrics_of(tmp_path / "again")["metrics"] == metrics_of(first)["metrics"]
    runs = ("--text-run", first / "text", "--audio-run", first / "audio")
    lin = ("--data-dir", raw, *TINY, "--model", "mm-lf-lin")
    status, stdout, err = cli(*lin, *runs, "--run-dir", tmp_path / "reused")
    assert status == 0 and "First the" not in stdout, err
    alone = f"{NAMES['a-sem']} alone"
    assert metrics_of(tmp_path / "reused")["baselines"][alone] == metrics_of(first)["baselines"][alone]

    together = (tmp_path / name / "model.weights.h5" for name in ("again", "reused"))
    status, _, err = cli(
        *base, "--model", "mm-lf-h1", "--epochs", 0, "--weights", *together, "--run-dir", tmp_path / "two"
    )
    assert status == 0, err
    compared = metrics_of(tmp_path / "two")["details"]["comparison"]
    assert compared == {
        NAMES["mm-lf-h1"]: metrics_of(first)["metrics"],
        NAMES["mm-lf-lin"]: metrics_of(tmp_path / "reused")["metrics"],
    }
    shutil.rmtree(tmp_path / "again")  # what a run has read of another one it keeps
    assert AudioText.load(tmp_path / "two").branches.keys() == {"text", "audio"}

    status, _, err = cli(*base, "--model", "mm-lf-lin", *runs, "--split-seed", 2, "--run-dir", tmp_path / "leak")
    assert status == 2 and "other items" in err  # the branch may have seen the test items
    status, _, err = cli(*base, "--model", "mm-lf-lin", "--text-run", runs[3], "--run-dir", tmp_path / "wrong")
    assert status == 2 and "is a run of audio" in err


def exchange_biographies(folder):
    """Every artist with a biography gets that of another one."""
    files = sorted((folder / "biographies").iterdir())
    texts = [path.read_text("utf-8") for path in files]
    for path, text in zip(files, texts[1:] + texts[:1], strict=True):
        path.write_text(text, "utf-8")


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_texts_and_sound_alone(cli, raw, trained, tmp_path):
    (text, *_), (sound, *_) = trained("a-text"), trained("audio")
    other = shutil.copytree(raw, tmp_path / "elsewhere" / raw.name)
    runs = {kind: shutil.copytree(run, tmp_path / kind) for kind, run in (("a-text", text), ("audio", sound))}
    exchange_biographies(other)

    def refused(message, *arguments):
        status, _, err = cli("--data-dir", other, *arguments)
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and message in err, err

    going_on = ("--epochs", 3, "--resume", "--run-dir")
    refused("(inputs (text))", *going_on, runs["a-text"])
    status, _, err = cli("--data-dir", other, *going_on, runs["audio"])  # which reads no texts
    assert status == 0, err
    given = ("--model", "a-text", "--epochs", 0, "--weights", text / "model.weights.h5", "--run-dir", tmp_path / "new")
    refused("trained on other data (text)", *TINY, *given)
    late = ("--model", "mm-lf-lin", "--text-run", text, "--audio-run", sound, "--run-dir", tmp_path / "new")
    refused("another text", *TINY, *late)
    clip = next(iter(sorted((other / "clips").glob("*.*"))))
    clip.write_bytes(clip.read_bytes()[:-2])
    refused("(inputs (sound))", *going_on, runs["audio"])
    assert not (tmp_path / "new").exists()


def test_mistakes_end_in_one_line(cli, raw, trained, tmp_path):
    done, *_ = trained("a-tags")
    broken = tmp_path / "broken.h5"
    broken.write_bytes(b"\x89HDF\r\n\x1a\n no weights")
    run = ("--data-dir", raw, *TINY)
    for arguments, message in (
        ((*run, "--model", "a-tags", "--run-dir", done), "not empty"),
        ((*run, "--model", "a-tags", "--epochs", 0), "--epochs 0"),
        ((*run, "--model", "a-tags", "--text", "a-sem"), "--text belongs to"),
        ((*run, "--model", "audio", "--text-run", done), "--text-run belongs to"),
        ((*run, "--model", "audio", "--filters", 4, 4), "--filters, --kernels and --pools"),
        ((*run, "--model", "audio", "--pools", 40, 40, 40, 40), "too short"),
        ((*run, "--model", "a-tags", "--epochs", 0, "--weights", broken), "broken.h5"),
        ((*run, "--model", "a-text", "--epochs", 0, "--weights", done / "model.weights.h5"), "model.weights.h5"),
        ((*run, "--model", "a-tags", "--dropout", 1), "--dropout is 1"),
        ((*run, "--model", "a-tags", "--resume", "--run-dir", done, "--learning-rate", 0.5), "learning_rate"),
        (("--data-dir", tmp_path / "nothing"), "no such folder"),
        (("--model", "mm-lf-h2"), "mm-lf-h2"),
    ):
        fresh = () if "--run-dir" in arguments else ("--run-dir", tmp_path / "fresh")
        status, _, err = cli(*arguments, *fresh)
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and message in err, (arguments, err)
        assert not (tmp_path / "fresh").exists()  # nothing is left half-written


def test_damaged_data_end_in_one_line(cli, raw, tmp_path):
    from audiotext.dataset import find_dataset
    from audiotext.preprocess import PrepareOptions, prepare

    folder = tmp_path / "dlrs-data"
    prepare(find_dataset(raw)[0], "raw", PrepareOptions(factors=4, jobs=1), out=folder)
    run = ("--data-dir", folder, *TINY, "--no-baselines", "--model")

    def refused(model, message):
        status, _, err = cli(*run, model, "--run-dir", tmp_path / "run")
        assert not (tmp_path / "run").exists()
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and message in err, err

    factors = folder / "splits" / "y_train_als_4_MSD-A-artists.npy"
    values = np.load(factors)
    for wrong, message in ((values[:-1], "rows"), (np.where(values == values[3], np.nan, values), "NaN")):
        np.save(factors, wrong)
        refused("a-tags", message)
    factors.write_bytes(b"\x93NUMPY cut")
    refused("a-tags", "cannot be read")
    np.save(factors, values)
    np.save(folder / "splits" / "y_train_als_2_MSD-A-artists.npy", values[:, :2])
    factorisations = ("--data-dir", folder, *SIZES, "--model", "a-tags", "--run-dir", tmp_path / "run")
    status, _, err = cli(*factorisations)
    assert status == 2 and "factors of 2 and 4 columns" in err  # none is silently taken
    (folder / "splits" / "y_train_als_2_MSD-A-artists.npy").unlink()
    plays = folder / "splits" / "matrix_test_MSD-A-artists.npz"
    with np.load(plays) as file:
        cells = dict(file)
    for wrong, message in ((-cells["data"], "negative"), (0 * cells["data"], "none of the users")):
        np.savez(plays, **(cells | {"data": wrong}))
        refused("a-tags", message)
    owners = folder / "splits" / "artist_of_song.tsv"
    whole = owners.read_text()
    owners.write_text(whole.replace("AR0005", "nobody"))
    refused("mm-lf-lin", "nobody")  # before a branch is trained
    owners.write_text(whole)
    patches = folder / "patches" / "train" / "patches.npy"
    values = np.load(patches)
    for wrong, message in (
        (values[:-1], "rows"),
        (values[:, :40], "patches of"),
        (values.astype("S3"), "expected patches"),
        (np.full_like(values, np.nan), "NaN"),
    ):
        np.save(patches, wrong)
        refused("audio", message)
    patches.unlink()
    refused("audio", "no such file")


@pytest.mark.slow
def test_artists_of_hetrec_by_their_tags(cli, tmp_path):
    """Users play artists of one of two kinds, which tags tell: unknown artists of their kind come first."""
    rng, folder = np.random.default_rng(1), tmp_path / "hetrec"
    folder.mkdir()

    def write(name, header, rows, encoding="utf-8"):
        lines = ["\t".join(header), *("\t".join(map(str, row)) for row in rows)]
        (folder / name).write_text("\n".join(lines) + "\n", encoding)

    write("artists.dat", ("id", "name", "url", "pictureURL"), [(10 + a, f"artist {a}", "-", "-") for a in range(60)])
    played = [(u, 10 + a, 1 + u) for u in range(40) for a in range(60) if a % 2 == u % 2 and rng.random() < 0.5]
    write("user_artists.dat", ("userID", "artistID", "weight"), played)
    write("tags.dat", ("tagID", "tagValue"), [(t, f"tag é {t}") for t in range(8)], "latin-1")
    given = {(u, 10 + a, 2 * int(rng.integers(0, 4)) + a % 2) for a in range(1, 60) for u in range(3)}
    header = ("userID", "artistID", "tagID", "day", "month", "year")
    write("user_taggedartists.dat", header, [(*row, 1, 1, 2009) for row in sorted(given)])

    options = ("--model", "a-tags", "--text-units", 16, 16, "--epochs", 12, "--batch-size", 8, "--factors", 4)
    options += ("--learning-rate", 0.01, "--dropout", 0, "--deterministic")
    status, stdout, err = cli("--data-dir", folder, *options, "--run-dir", tmp_path / "run")
    assert status == 0 and "synthetic" not in stdout, err
    found = metrics_of(tmp_path / "run")
    assert found["metrics"]["map@500"] > found["baselines"]["random"]["map@500"] + 0.2
    assert found["metrics"]["auc"] > 0.8 and found["dataset"]["counts"]["cold_start_artists"] == 12
    assert found["details"]["empty_items_left_out"] in (0, 1)  # artist 10 has no tag
    status, _, err = cli("--data-dir", folder, "--model", "audio", "--run-dir", tmp_path / "none")
    assert status == 2 and "no such file" in err and not (tmp_path / "none").exists()

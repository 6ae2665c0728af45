"""A folder that looks like a checkout whose user has data, weights and runs, and scripts run in it in this process."""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import soundfile

from common.options import PROJECT, write_json
from common.testing import reseal
from common.vocabulary import read_vocabulary
from seer import sample
from seer.building.from_midi_test import write_sources
from seer.preprocess import prepare
from template.preprocess import write_sample
from tests.contract_test import TINY
from tests.page_commands import Command
from tests.quick_scripts import FILLED, QUICK, SMALL, TRAINERS, quickened


@dataclass
class Checkout:
    """The current folder, once :func:`fill` has filled it; ``number`` counts the commands."""

    number: int = 0

    def run(self, script: str, arguments: Sequence[str]) -> tuple[int, str, str]:
        """Run a script, and what it starts: exit status, stdout, and stderr with the warnings that Python shows."""
        out, err, status = io.StringIO(), io.StringIO(), 0
        with (
            mock.patch.object(sys, "argv", [str(PROJECT / script), *arguments]),
            mock.patch.object(sys, "path", [str(PROJECT), *sys.path]),
            mock.patch("subprocess.run", self._start),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(record=True) as warned,
        ):
            warnings.simplefilter("default")
            warnings.filterwarnings("ignore", message=".*experimental_run_functions_eagerly.*")
            warnings.filterwarnings("ignore", category=DeprecationWarning)  # as Python does
            try:
                runpy.run_path(str(PROJECT / script), run_name="__main__")
            except SystemExit as stop:
                status = int(stop.code or 0)
        return status, out.getvalue(), err.getvalue() + "".join(f"Warning: {one.message}\n" for one in warned)

    def _start(self, command: list[str], stdout: Any = None, **_: object) -> subprocess.CompletedProcess[str]:
        """In place of ``subprocess.run``: a trainer, made quick."""
        script = str(Path(command[1]).relative_to(PROJECT))
        status, out, err = self.run(script, [*command[2:], *SMALL[script.split("/")[0]], *QUICK])
        if hasattr(stdout, "write"):
            stdout.write(out + err)
        return subprocess.CompletedProcess(command, status, out, err)

    def arguments(self, command: Command) -> list[str]:
        """What the command's script is given, filled in, once all that it names is there."""
        self.number += 1
        paper, option, found = command.script.split("/")[0], "", []
        for word in command.arguments:
            option = word if word.startswith("--") else option
            word = re.sub(r"^RUN\b", f"runs/{paper}/run", word)
            word = FILLED.get((option, word), word).replace("{number}", str(self.number)).replace("{paper}", paper)
            self._provide(word)
            word = re.sub(r"^(ID\b|MSNO$)", lambda name: self._id(paper, name[0]), word)
            found += sorted(map(str, Path().glob(word))) if "*" in word else [word]
        return found

    def results_of(self, command: Command) -> Path:
        """A folder for what a command leaves: of a trainer without options the run that other commands name."""
        run = Path("runs", command.script.split("/")[0], "run")
        plain = command.script in TRAINERS and not command.arguments and not run.exists()
        return run if plain else Path(f"made/{self.number}")

    def _provide(self, word: str) -> None:
        """Make a run that a command names."""
        if (run := re.match(r"runs/(\w+)/(run\b|\*)", word)) and not Path("runs", run[1], "run").exists():
            self._make(f"{run[1]}/train.py", "--run-dir", f"runs/{run[1]}/run", *_data(run[1]))

    def _make(self, script: str, *arguments: str) -> None:
        status, _, err = self.run(script, quickened(script, arguments))
        assert status == 0, (script, arguments, err)

    def _id(self, paper: str, name: str) -> str:
        """An id that a run of the paper knows."""
        if paper == "dtnmr":
            from dtnmr.dataset import read_data

            data = read_data(Path("runs/dtnmr/run"))
            return data.user_ids[0] if name == "MSNO" else data.song_ids[0]
        return read_vocabulary(Path("runs", paper, "run"))[-1]


def _data(paper: str) -> tuple[str, ...]:
    return ("--data-dir", "given/template") if paper == "template" else ()


def fill(folder: Path, golden: Path) -> None:
    """Put in place what the pages name: SeER's golden data, which have weights, and tiny data of the others."""
    data, given = folder / "data", folder / "given"
    shutil.copytree(golden / "seer" / "Data", data / "seer")
    for place, paper in (("mssd", "gru4rec"), ("kkbox", "dtnmr"), ("audiotext/sample", "audiotext")):
        (data / place).mkdir(parents=True)
        TINY[paper][0](data / place)
    given.mkdir()
    links = {"seer": "seer", "session_transformers": "mssd", "dtnmr": "kkbox", "audiotext": "audiotext/sample"}
    for name, target in links.items():
        (given / name).symlink_to(data / target)
    (given / "gru4rec").symlink_to(golden / "gru4rec")
    (given / "template").mkdir()
    write_sample(given / "template", users=40, songs=20)
    (folder / "tests").symlink_to(PROJECT / "tests")
    (folder / "weights" / "seer").mkdir(parents=True)
    lstm, gru = (next((golden / "seer" / "weights").glob(f"SeER_{cell}_*.h5")) for cell in ("LSTM", "GRU"))
    shutil.copy(lstm, folder / "weights" / "file.h5")
    for source, name in ((lstm, "SeER_LSTM_latent_150_seq500_weights"), (gru, "model_GRU_latent_150")):
        shutil.copy(source, folder / "weights" / "seer" / f"{name}.h5")
        with zipfile.ZipFile(folder / "weights" / "seer" / f"{name}.zip", "w") as packed:  # as they are released
            packed.write(source, f"{name}.h5")
    _fill_seer_sample(data / "seer" / "sample", folder / "mine.csv")
    _write_files(folder, data / "audiotext" / "sample")


def _fill_seer_sample(folder: Path, ratings: Path) -> None:
    """Fewer songs, but the users of the weights that come with the project, which take it for their own sample."""
    with mock.patch.multiple(sample, SONGS=12, RATINGS_PER_USER=(4, 6)):
        sample.write_sample(folder)
    songs = prepare(folder, folder / "prepared").song_information["song_id"]
    run = json.loads((PROJECT / "weights" / "seer_sample" / "dot" / "options.json").read_text("utf-8"))
    (meta,) = (folder / "prepared").glob("*/meta.json")
    reseal(meta.parent, fingerprint=run["dataset"]["fingerprint"])
    ratings.write_text(f"song_id,rating\n{songs[0]},5\n{songs[1]},1\n", "utf-8")


def _write_files(folder: Path, collection: Path) -> None:
    """MIDI files and tables, a sound and a text, a song that KKBOX has not; and what commands name that are only
    read: a preset, and names of weights."""
    write_json(folder / "preset.json", {"options": {"epochs": 3}})
    for name in ("state_dict.npz", "official_state_dict.npz"):
        (folder / name).touch()
    write_sources(folder)
    (folder / "midi").rename(folder / "MIDI_FOLDER")
    (folder / "triplets.txt").rename(folder / "train_triplets.txt")
    soundfile.write(folder / "song.mp3", *soundfile.read(min(collection.glob("clips/*"))))
    shutil.copy(max(collection.glob("biographies/*"), key=lambda path: path.stat().st_size), folder / "artist.txt")
    header = "song_id,song_length,genre_ids,artist_name,composer,lyricist,language\n"
    (folder / "new_songs.csv").write_text(f"{header}new,240000,465,Somebody,,,3.0\n", "utf-8")

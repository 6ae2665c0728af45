import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiotext.audio import patches as module
from audiotext.audio.decode import SAMPLE_RATE
from audiotext.audio.patches import FAILED, OK, SHORT, SILENT, PatchOptions, extract_all, patch_of
from common.options import PROJECT, UserError

OPTIONS = PatchOptions(frames=30)
FILES = ("patches.npy", "problems.tsv", "state.npy")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Tracks that are whole, short, silent, damaged, missing and without a file."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    paths: dict[str, Path | None] = {}
    for number in range(6):
        paths[f"whole{number}"] = folder / f"{number}.wav"
        soundfile.write(paths[f"whole{number}"], rng.normal(0, 0.1, 2 * SAMPLE_RATE), SAMPLE_RATE)
    paths["short"], paths["silent"] = folder / "short.wav", folder / "silent.flac"
    soundfile.write(paths["short"], rng.normal(0, 0.1, SAMPLE_RATE), SAMPLE_RATE)
    soundfile.write(paths["silent"], np.zeros(2 * SAMPLE_RATE), SAMPLE_RATE)
    paths["damaged"] = folder / "damaged.mp3"
    paths["damaged"].write_bytes(b"\xff\xfb" + bytes(3000))
    return paths | {"missing": folder / "missing.ogg", "none": None}


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def test_every_track_has_a_row_and_what_is_wrong_is_named(clips, tmp_path):
    found = extract_all(clips, tmp_path, OPTIONS, jobs=1, quiet=True)
    assert found.status.tolist() == [OK] * 6 + [SHORT, SILENT, FAILED, FAILED, FAILED]
    assert found.patches.shape == (11, 30, 96) and found.patches.dtype == np.float16
    assert isinstance(found.patches, np.memmap) and not found.patches.flags.writeable
    assert found.usable.tolist() == [True] * 8 + [False] * 3
    assert found.summary() == "11 tracks: 6 whole, 1 short, 1 silent, 3 failed"
    assert list(found.problems) == ["short", "silent", "damaged", "missing", "none"]
    assert "22 of 30 frames" in found.problems["short"] and "nothing is heard" in found.problems["silent"]
    lines = [line.split("\t") for line in (tmp_path / "problems.tsv").read_text().splitlines()]
    assert [line[:2] for line in lines][2:] == [["damaged", "failed"], ["missing", "failed"], ["none", "failed"]]
    assert (found.patches[6][22:] == -80).all() and (found.patches[7] == -80).all()
    released = extract_all(clips, tmp_path, PatchOptions(30, protocol="released"), jobs=1, quiet=True)
    assert (released.patches[6][22:] == 0).all() and (released.patches[7] == 0).all()


@pytest.mark.slow
def test_processes_make_no_difference_and_nothing_is_done_twice(clips, tmp_path, monkeypatch):
    one = extract_all(clips, tmp_path / "one", OPTIONS, jobs=1, quiet=True)
    two = extract_all(clips, tmp_path / "two", OPTIONS, jobs=2, quiet=True)
    np.testing.assert_array_equal(one.patches, two.patches)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") and one.problems == two.problems
    tried = []
    extract = module._extract
    monkeypatch.setattr(module, "_extract", lambda *task: tried.append(task[0]) or extract(*task))
    again = extract_all(clips, tmp_path / "two", OPTIONS, jobs=1, quiet=True)
    assert not tried and again.problems == one.problems
    os.utime(clips["whole3"], (1, 1))
    extract_all(clips, tmp_path / "two", OPTIONS, jobs=1, quiet=True)
    assert tried == ["whole3"]
    extract_all(clips, tmp_path / "two", PatchOptions(frames=30, seed=2), jobs=1, quiet=True)
    assert len(tried) == 1 + len(clips)
    extract_all({k: v for k, v in clips.items() if k != "none"}, tmp_path / "two", OPTIONS, jobs=1, quiet=True)
    assert len(tried) == 2 * len(clips)


SCRIPT = """
import os, sys
from pathlib import Path
from audiotext.audio import patches

extract, count = patches._extract, iter(range(99))

def deadly(*task):
    if next(count) == 8:
        os.kill(os.getpid(), 9)
    return extract(*task)

patches._extract = deadly
paths = {line.split("=")[0]: Path(line.split("=")[1]) if line.split("=")[1] else None for line in sys.argv[2:]}
patches.extract_all(paths, Path(sys.argv[1]), patches.PatchOptions(frames=30), jobs=1)
"""


def test_killed_and_resumed_equals_uninterrupted(clips, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    extract_all(clips, whole, OPTIONS, jobs=1, quiet=True)
    names = [f"{track}={path or ''}" for track, path in clips.items()]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(parts), *names], cwd=PROJECT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    tried = []
    extract = module._extract
    monkeypatch.setattr(module, "_extract", lambda *task: tried.append(task[0]) or extract(*task))
    extract_all(clips, parts, OPTIONS, jobs=1, quiet=True)
    assert tried == list(clips)[8:]
    assert contents(parts) == contents(whole)


def test_interrupted_says_how_to_go_on(clips, tmp_path, monkeypatch):
    def stop(*task):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_extract", stop)
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        extract_all(clips, tmp_path, OPTIONS, jobs=1, quiet=True)


def test_nothing_to_extract_and_no_room(clips, tmp_path, monkeypatch):
    bad = {name: clips[name] for name in ("damaged", "missing", "none")}
    with pytest.raises(UserError, match=r"none of 3 tracks .*; the first: .*damaged.mp3: not audio"):
        extract_all(bad, tmp_path, OPTIONS, jobs=1, quiet=True)
    with pytest.raises(UserError, match="no track"):
        extract_all({}, tmp_path, OPTIONS)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match="are free"):
        extract_all(clips, tmp_path / "full", OPTIONS, jobs=1, quiet=True)


@pytest.mark.parametrize("name", ["patches.npy", "state.npy", "problems.tsv"])
def test_damaged_files_of_an_extraction_are_made_anew(name, clips, tmp_path):
    extract_all(clips, tmp_path, OPTIONS, jobs=1, quiet=True)
    before = contents(tmp_path)
    (tmp_path / name).write_bytes(b"\x93NUMPY no more")
    found = extract_all(clips, tmp_path, OPTIONS, jobs=1, quiet=True)
    assert len(found.problems) == 5
    if name != "problems.tsv":  # the reasons of tracks that are not tried again are lost with it, what they are is not
        assert contents(tmp_path) == before


def test_a_patch_is_drawn_from_seed_and_track():
    spectrogram = np.arange(500.0).reshape(-1, 1) * np.ones((1, 96))
    starts = {(track, seed): patch_of(spectrogram, track, PatchOptions(100, seed))[0, 0] for track in "abcdefgh"
              for seed in (1, 2)}  # fmt: skip
    assert len(set(starts.values())) > 12 and max(starts.values()) <= 400
    assert patch_of(spectrogram, "a", PatchOptions(100, 1))[0, 0] == starts["a", 1]
    ends = {patch_of(spectrogram[:101], f"{n}", PatchOptions(100))[0, 0] for n in range(20)}
    assert ends == {0, 1}

"""Good input files of every format of the datasets, small, and their readers."""

from __future__ import annotations

import gzip
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from faults.mutations import Format

SONGS, STEPS, USERS = 6, 5, 12


def write_seer(folder: Path) -> None:
    """SeER's released files: six songs of five steps."""
    draw = np.random.default_rng(3)
    midi = draw.integers(0, 128, (SONGS, STEPS * 32)) * (draw.random((SONGS, STEPS * 32)) < 0.2)
    ratings = "".join(f"{u} {s} {1 + (u + s) % 5}\n" for u in range(USERS) for s in range(SONGS))
    (folder / "triplets.txt").write_text(ratings)
    times = [[1000.0 * step + song for step in range(STEPS)] for song in range(SONGS)]
    for name, content in (("midi_array", json.dumps(midi.tolist())), ("Time_array", json.dumps(times))):
        with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}.txt", content)
    rows = [f'{n},S{n:02d},Artist {n},"Title, {n}",Album,200{n},200.5\n' for n in range(SONGS)]
    (folder / "song_information.csv").write_text(",song_id,artist_name,title,release,year,duration\n" + "".join(rows))
    rows = [f"{n},S{n:02d},{n}\n" for n in range(SONGS)]
    (folder / "song_to_number_matching.csv").write_text(",song_id,number\n" + "".join(rows))
    rows = [f"{n},user{n:02d},{n}\n" for n in range(USERS)]
    (folder / "user_to_number_matching.csv").write_text(",user_id,number\n" + "".join(rows))


def _seer(*names: str, unzipped: bool = False) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        write_seer(folder)
        if unzipped:
            for archive in folder.glob("*.zip"):
                zipfile.ZipFile(archive).extractall(folder)
                archive.unlink()
        return [folder / name for name in names]

    return write


def _read_seer(folder: Path, scratch: Path) -> Any:
    from seer.preprocess import prepare

    return _without_fingerprint(prepare(folder, scratch / "prepared"))


def _without_fingerprint(data: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(data).items() if name != "fingerprint"}


def _write_midi(folder: Path) -> list[Path]:
    import mido

    song = mido.MidiFile(ticks_per_beat=96)
    for channel in range(3):
        track = mido.MidiTrack()
        track.append(mido.MetaMessage("set_tempo", tempo=400_000 + 10 * channel))
        for note in range(25):
            track.append(mido.Message("note_on", channel=channel, note=40 + note, velocity=90, time=12))
            track.append(mido.Message("note_off", channel=channel, note=40 + note, velocity=0, time=12))
        song.tracks.append(track)
    song.save(folder / "song.mid")
    return [folder / "song.mid"]


def _read_midi(folder: Path, _: Path) -> Any:
    from common.options import UserError
    from seer.midi import midi_to_array, read_midi, read_note_ons, steps_of

    try:
        notes = steps_of(read_note_ons(folder / "song.mid"))
    except UserError:
        read_midi(folder / "song.mid")  # the other reader may take it, but neither may fail otherwise
        raise
    return notes, midi_to_array(read_midi(folder / "song.mid"))


def _play_counts(name: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        text = "".join(f"user{u}\tS{s}\t{1 + (u * s) % 7}\n" for u in range(15) for s in range(8)).encode()
        (folder / name).write_bytes(gzip.compress(text, mtime=0) if name.endswith(".gz") else text)
        return [folder / name]

    return write


def _read_play_counts(folder: Path, _: Path) -> Any:
    from seer.building.play_counts import read_play_counts

    return read_play_counts(next(folder.iterdir()), [f"S{s}" for s in range(8)])


def _write_songs(folder: Path) -> list[Path]:
    rows = [f"S{n},Title {n},Artist {n},Album,{1990 + n},{100.5 + n}\n" for n in range(20)]
    (folder / "songs.csv").write_text("song_id,title,artist_name,release,year,duration\n" + "".join(rows))
    (folder / "mapping.csv").write_text("song_id,file\n" + "".join(f"S{n},{n}.mid\n" for n in range(20)))
    scores = {f"TRABC{n:02d}1234567890AB"[:18]: {f"{n:032x}": 0.5 + n / 100} for n in range(20)}
    (folder / "match_scores.json").write_text(json.dumps(scores))
    return [folder / name for name in ("songs.csv", "mapping.csv", "match_scores.json")]


def _read_songs(folder: Path, _: Path) -> Any:
    from seer.building.song_catalogue import match_files, read_songs

    mappings = [match_files(folder, folder / name) for name in ("mapping.csv", "match_scores.json")]
    return list(read_songs(folder / "songs.csv")), mappings


def write_kkbox(folder: Path) -> None:
    """KKBOX's four files."""
    from dtnmr.sample import KkboxSampleOptions, write_sample

    write_sample(folder, KkboxSampleOptions(folder, users=60, songs=300))


def _kkbox(*names: str, packed: bool = False) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        write_kkbox(folder)
        if packed:
            for name in names:
                plain = folder / name.removesuffix(".gz")
                (folder / name).write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
                plain.unlink()
        return [folder / name for name in names]

    return write


def _read_kkbox(folder: Path, scratch: Path) -> Any:
    from dtnmr.preprocess import prepare

    return _without_fingerprint(prepare(folder, scratch / "prepared"))


def _kkbox_titles(folder: Path) -> list[Path]:
    rows = [f"s{n},Name {n},ISRC{n}\n" for n in range(40)]
    (folder / "song_extra_info.csv").write_text("song_id,name,isrc\n" + "".join(rows))
    return [folder / "song_extra_info.csv"]


def _read_kkbox_titles(folder: Path, _: Path) -> Any:
    from dtnmr.kkbox import read_titles

    return read_titles({"song_extra_info": folder / "song_extra_info.csv"}, {f"s{n}" for n in range(40)})


def write_mssd(folder: Path, sessions: int = 60) -> None:
    """Three logs and a table of features as in MSSD."""
    from common.mssd.sample import SessionSampleOptions, write_sample

    write_sample(folder, SessionSampleOptions(folder, sessions=sessions, tracks=100, days=3))


def _mssd(packing: str, part: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        write_mssd(folder)
        files = sorted(folder.glob(part))
        if packing == "gz":
            packed = [path.with_name(path.name + ".gz") for path in files]
            for path, target in zip(files, packed, strict=True):
                target.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        elif packing:
            packed = [folder / f"logs.{packing}"]
            with tarfile.open(packed[0], "w:gz" if packing.endswith("gz") else "w") as archive:
                for path in files:
                    archive.add(path, path.name)
        else:
            return files
        for path in files:
            path.unlink()
        return packed

    return write


def _read_mssd(folder: Path, scratch: Path) -> Any:
    from gru4rec.options import DataOptions
    from gru4rec.preprocess import prepare

    return _without_fingerprint(prepare(folder, scratch / "prepared", DataOptions(kind="mssd")))


def _write_events(folder: Path) -> list[Path]:
    rows = [f"{s}\titem{(s * k) % 9}\t{1000 * s + k}\n" for s in range(20) for k in range(1, 5)]
    (folder / "events.tsv").write_text("SessionId\tItemId\tTime\n" + "".join(rows))
    rows = [f"{s},2014-04-0{1 + s % 7}T10:51:0{k}.277Z,{200 + k},0\n" for s in range(20) for k in range(1, 5)]
    (folder / "clicks.dat").write_text("".join(rows))
    return [folder / "events.tsv", folder / "clicks.dat"]


def _read_events(folder: Path, _: Path) -> Any:
    from gru4rec.sessions import read_clicks, read_events

    tables = [read_events(folder / "events.tsv", "SessionId", "ItemId", "Time"), read_clicks(folder / "clicks.dat")]
    return [(table.events, table.item_ids) for table in tables]


SEER = "midi_array.zip", "Time_array.zip"
DATA_FORMATS = (
    Format("seer csv", _seer("triplets.txt"), _read_seer),
    Format("seer tables", _seer("song_information.csv", "song_to_number_matching.csv", "user_to_number_matching.csv"),
           _read_seer),
    Format("seer arrays txt", _seer("midi_array.txt", "Time_array.txt", unzipped=True), _read_seer),
    Format("seer arrays zip", _seer(*SEER), _read_seer, "checksum"),
    Format("seer midi", _write_midi, _read_midi),
    Format("seer play counts", _play_counts("train_triplets.txt"), _read_play_counts),
    Format("seer play counts gz", _play_counts("train_triplets.txt.gz"), _read_play_counts, "checksum"),
    Format("seer catalogue", _write_songs, _read_songs),
    Format("kkbox csv", _kkbox("train.csv", "test.csv", "songs.csv", "members.csv"), _read_kkbox),
    Format("kkbox csv.gz", _kkbox("train.csv.gz", "songs.csv.gz", packed=True), _read_kkbox, "checksum"),
    Format("kkbox titles", _kkbox_titles, _read_kkbox_titles),
    Format("mssd csv", _mssd("", "log_*.csv"), _read_mssd),
    Format("mssd features csv", _mssd("", "tf_*.csv"), _read_mssd),
    Format("mssd csv.gz", _mssd("gz", "log_*.csv"), _read_mssd, "checksum"),
    Format("mssd tar.gz", _mssd("tar.gz", "*.csv"), _read_mssd, "checksum"),
    Format("mssd tar", _mssd("tar", "*.csv"), _read_mssd),
    Format("gru4rec events", _write_events, _read_events),
)  # fmt: skip

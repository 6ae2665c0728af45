"""Build a dataset in SeER's released formats from MIDI files, play counts and song metadata.

The order of the steps is that of the paper (arXiv 1907.01640 v2, section 3.1): songs with a MIDI file and metadata;
their play counts; users with fewer than 20 distinct songs dropped, once; songs that lost all their users dropped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from common import console
from common.console import counted
from common.folders import replacing_folder
from common.options import OptionalInt, OptionalPath, flag, require, write_json
from common.row_counts import UNNEEDED, RowCounts
from common.sources import MARKER, mark_synthetic
from seer.building.midi_songs import Converted, convert_all
from seer.building.play_counts import PlayCounts, read_play_counts
from seer.building.song_catalogue import Matches, Skipped, Song, match_files, read_songs
from seer.midi import MAX_BYTES, NoteEnds, SeveralNotes
from seer.midi_file import is_gzip, unpacked

PROVENANCE = "provenance.json"
"""A folder without this file, or with files of other names, is not of our making, and never replaced."""
_tables = ("triplets.txt", "song_information.csv", "song_to_number_matching.csv", "user_to_number_matching.csv")
_arrays = ("midi_array.zip", "time_array.zip")
_own = {PROVENANCE, MARKER, "skipped.csv", "midi", "prepared", *_tables, *_arrays}


@dataclass(frozen=True)
class FromMidiOptions:
    """Options of the conversion."""

    from_midi: OptionalPath = None
    """Folder with MIDI files (.mid, .midi, .kar, .rmi, also .gz): make a new dataset of them. Needs --triplets, --songs
    and --out."""
    triplets: OptionalPath = None
    """Play counts: user, song id and count per line, separated by tabs (the Taste Profile's train_triplets.txt; also
    as .gz or .zip). Counts of a pair that occurs again are added up."""
    songs: OptionalPath = None
    """Song metadata: a CSV file with song_id, title, artist_name, release, year (and track_id, duration), or the
    Million Song Dataset's unique_tracks.txt or track_metadata.db."""
    out: OptionalPath = None
    """Folder for the new dataset; it appears when it is complete."""
    mapping: OptionalPath = None
    """Which file belongs to which song: a CSV file with song_id and file, or Lakh's match_scores.json. Default:
    mapping.csv or match_scores.json in the MIDI folder, else each file's name is its song's id."""
    several_notes: SeveralNotes = "highest"
    """Which of several notes of a channel at one time stands for them (the paper does not say)."""
    note_ends: NoteEnds = "keep"
    """Note-on events of velocity 0, which end a note: keep makes steps of them (paper, figure 4)."""
    steps: Literal["median"] | int = "median"
    """Steps to which every song is cut or padded: a number, or the median of the songs (v2; released: 5000)."""
    min_songs: int = 20
    """Users with fewer distinct songs are dropped (paper: 20)."""
    workers: OptionalInt = None
    """Processes that read MIDI files. Default: one per core."""
    synthetic_ratings: bool = False
    """Mark the dataset as synthetic, since the play counts are made up; so does a SYNTHETIC.txt beside them."""

    def __post_init__(self) -> None:
        names = [field.name for field in dataclasses.fields(FromMidiOptions)]
        if self.from_midi is None:
            given = [name for name in names if getattr(self, name) != getattr(FromMidiOptions, name)]
            flags = ", ".join(flag(name) for name in given)
            require(not given, f"{flags}: only with --from-midi, the folder with the MIDI files")
            return
        require(self.from_midi.is_dir(), f"--from-midi {self.from_midi}: no such folder")
        for name in ("triplets", "songs", "out"):
            require(getattr(self, name) is not None, f"--from-midi needs --{name} as well (see --help)")
        for name in ("triplets", "songs", "mapping"):
            path = getattr(self, name)
            require(path is None or path.is_file(), f"--{name} {path}: no such file")
        steps = 1 if self.steps == "median" else self.steps
        require(1 <= steps <= 10**6, f"--steps is {steps}; it must lie in 1..1000000, or be median")
        require(self.min_songs >= 1, f"--min-songs is {self.min_songs}; it must be 1 or more")
        require(self.workers is None or self.workers >= 1, f"--workers is {self.workers}; it must be 1 or more")


def build_dataset(options: FromMidiOptions) -> dict[str, Any]:
    """Make the dataset that ``options`` ask for; returns its counts.

    ``options.out`` then holds the released files, ``midi/<song number>.mid`` (hard links to the files used, or copies
    where links are impossible), ``skipped.csv`` (songs and files that were left out, and why) and ``provenance.json``
    (options and counts). Songs and users are numbered in the alphabetical order of their ids.

    Each song that has been read is kept in the folder ``<out>.midi-cache`` until the dataset is complete. So after an
    interruption the same command continues, and ends with the very same files.

    Raises:
        UserError: a file is wrong, nothing is left, or ``options.out`` holds something else.
    """
    midi, triplets, songs, out = options.from_midi, options.triplets, options.songs, options.out
    assert midi is not None and triplets is not None and songs is not None and out is not None
    sources = [path for path in (midi, triplets, songs, options.mapping) if path is not None]
    out = Path(os.path.realpath(out))  # a rename onto "." or a link is impossible
    _check_out(out, sources)
    matches = match_files(midi, options.mapping)
    say = console.notify if getattr(options, "json", False) else console.say
    say(f"{midi}: {matches.kind}.")
    rows = RowCounts()
    found = _join(matches, read_songs(songs, rows), songs)
    require(
        bool(found.songs),
        f"{midi}: no MIDI file belongs to a song of {songs} ({matches.kind}); name a table with --mapping",
    )
    unnamed = [row for row in matches.skipped if not row.song_id and row.reason.startswith("not in ")]
    for row in unnamed:
        console.notify(f"{midi}: {row.file} is {row.reason}")
    plays, lines = read_play_counts(triplets, found.songs, rows)
    active = plays.keep_active_users(options.min_songs)
    skipped = [*found.skipped, *_lost(found, set(plays.song_ids), found.songs, f"not in {triplets.name}")]
    _require_plays(active, found, plays, options)
    few = f"played only by users with fewer than {options.min_songs} songs"
    skipped += _lost(found, set(active.song_ids), plays.song_ids, few)

    cache = out.with_name(f"{out.name}.midi-cache")
    files = {song: found.files[song] for song in active.song_ids}
    converted, failed = convert_all(midi, files, cache, options.several_notes, options.note_ends, options.workers)
    skipped += [Skipped(song, found.files[song], reason) for song, reason in failed.items()]
    repairs = Counter(repair for song in converted.values() for repair in song.repairs)
    kept = active.keep_songs(converted).keep_active_users(options.min_songs)
    skipped += _lost(found, set(kept.song_ids), converted, few)
    _require_plays(kept, found, plays, options)
    lengths = [converted[song].steps for song in kept.song_ids]
    steps = int(np.median(lengths)) if options.steps == "median" else int(options.steps)
    counts = {
        "lines": lines,
        "rows": _row_counts(rows, matches, [plays, active, kept], options).as_json(),
        "songs with MIDI and metadata": len(found.songs),
        "of these with plays": _sizes(plays),
        "of users with enough songs": _sizes(kept),
        "skipped": len(skipped),
        "read although they break the standard": dict(repairs.most_common()),
        "steps": steps,
        "songs cut": sum(length > steps for length in lengths),
    }
    synthetic = options.synthetic_ratings or (triplets.parent / MARKER).is_file()
    facts = {
        "made by": "seer/preprocess.py --from-midi",
        "matches": matches.kind,
        "synthetic": synthetic,
        "options": {k: v for k, v in dataclasses.asdict(options).items() if k not in ("workers", "data_dir")},
        "counts": counts,
    }
    with replacing_folder(out, lambda folder: False) as beside:
        _write_arrays(beside, [converted[song].path for song in kept.song_ids], steps)
        _write_tables(beside, kept, [_with_duration(found.songs[s], converted[s]) for s in kept.song_ids])
        _link_files(beside / "midi", [midi / found.files[song] for song in kept.song_ids])
        _write_csv(beside / "skipped.csv", pd.DataFrame(sorted(skipped), columns=list(Skipped._fields)), index=False)
        write_json(beside / PROVENANCE, facts)
        if synthetic:
            mark_synthetic(beside, "The play counts were marked as made up; the songs are those of the MIDI files.")
    shutil.rmtree(cache)
    if repairs:
        number = sum(bool(song.repairs) for song in converted.values())
        kinds = ", ".join(f"{repair}: {count:,}" for repair, count in repairs.most_common())
        breaks, them = ("breaks", "it") if number == 1 else ("break", "them")
        say(f"{midi}: {counted(number, 'MIDI file')} {breaks} the standard, read as players read {them} ({kinds}).")
    say(
        f"{out}: {counted(len(kept.song_ids), 'song')} of {counted(steps, 'step')}; "
        f"{len(skipped):,} skipped, see skipped.csv."
    )
    return counts


def _check_out(out: Path, sources: list[Path]) -> None:
    for source in sources:
        inside = source.resolve().is_relative_to(out.resolve())
        require(not inside, f"--out {out}: holds {source}, which would be lost; choose another folder")
    require(not out.exists() or out.is_dir(), f"--out {out}: is a file; choose another name")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    foreign = sorted(names - _own if PROVENANCE in names else names)
    found = repr(foreign[0]) if foreign else ""
    require(not foreign, f"--out {out}: holds something else ({found}), which would be lost; choose another folder")


@dataclass(frozen=True)
class Found:
    """Songs that have a MIDI file and metadata."""

    songs: dict[str, Song]
    files: dict[str, str]
    skipped: list[Skipped]


def _join(matches: Matches, songs: Iterator[Song], path: Path) -> Found:
    """Give each song its file: its own, or that of its track with the best score (then the first track)."""
    best: dict[str, tuple[float, str, Song]] = {}
    tracks: set[str] = set()
    used: set[str] = set()
    files: dict[str, str] = {}
    for song in songs:
        if song.track_id in matches.tracks:
            score, file = matches.tracks[song.track_id]
            tracks.add(song.track_id)
            candidate = (-score, song.track_id, song)
            if song.song_id not in best or candidate[:2] < best[song.song_id][:2]:
                best[song.song_id] = candidate
                files[song.song_id] = file
        elif song.song_id not in best and (spelling := matches.spelling(song.song_id)):
            best[song.song_id] = (0.0, song.track_id, song)
            files[song.song_id] = matches.files[spelling]
            used.add(spelling)
    known = {song: row for song, (_, _, row) in best.items()}
    reason = f"not in {path.name}"
    skipped = [Skipped(song, file, reason) for song, file in matches.files.items() if song not in used]
    skipped += [Skipped("", file, reason) for track, (_, file) in matches.tracks.items() if track not in tracks]
    return Found(known, files, [*matches.skipped, *skipped])


def _require_plays(left: PlayCounts, found: Found, plays: PlayCounts, options: FromMidiOptions) -> None:
    require(
        len(left.counts) > 0,
        f"{options.triplets}: nothing is left: {counted(len(found.songs), 'song')} with a MIDI file and metadata, "
        f"{len(plays.song_ids):,} of them played, but no user played {options.min_songs} whose MIDI file can be "
        "read; lower --min-songs or add songs",
    )


def _lost(found: Found, left: set[str], before: Any, reason: str) -> list[Skipped]:
    return [Skipped(song, found.files[song], reason) for song in before if song not in left]


def _row_counts(
    counts: RowCounts, matches: Matches, plays: Sequence[PlayCounts], options: FromMidiOptions
) -> RowCounts:
    """What became of the rows of play counts, songs and mapping; ``plays`` are what each filter leaves."""
    path, songs, left = options.triplets, options.songs, len(plays[-1].song_ids)
    assert path is not None and songs is not None
    reasons = (
        "songs without a MIDI file and metadata",
        f"users with fewer than {options.min_songs} songs",
        "songs whose MIDI file cannot be read, and users then left with too few",
    )
    for reason, kept in zip(reasons, plays, strict=True):
        counts.leave_out(path, reason, counts.used(path) - int(kept.lines.sum()))
    counts.leave_out(songs, UNNEEDED, counts.used(songs) - left)
    if matches.mapping is not None:
        counts.add_file(matches.mapping, matches.rows)
        wrong = matches.rows - len(matches.files) - len(matches.tracks)
        counts.leave_out(matches.mapping, "whose file cannot be taken", wrong)
        counts.leave_out(matches.mapping, UNNEEDED, counts.used(matches.mapping) - left)
    return counts


def _sizes(plays: PlayCounts) -> dict[str, int]:
    return {"users": len(plays.user_ids), "songs": len(plays.song_ids), "ratings": len(plays.counts)}


def _write_arrays(folder: Path, songs: list[Path], steps: int) -> None:
    """Write the two arrays song by song: each is one JSON list of a list per song, cut or padded with zeros."""
    with _zipped(folder / "midi_array.zip") as midi, _zipped(folder / "time_array.zip") as times:
        bar = tqdm(songs, "writing the arrays", unit=" songs", delay=2, disable=console.no_bar())
        for number, path in enumerate(bar):
            with np.load(path, allow_pickle=False) as song:
                rows = _fitted(song["steps"], steps).ravel().tolist()
                stamps = np.round(_fitted(song["times"], steps), 1).tolist()
            for stream, values in ((midi, rows), (times, stamps)):
                stream.write(b", " if number else b"[")
                stream.write(json.dumps(values).encode())
        for stream in (midi, times):
            stream.write(b"]")


def _fitted(values: NDArray[Any], steps: int) -> NDArray[Any]:
    padded = np.zeros((steps, *values.shape[1:]), values.dtype)
    padded[: len(values)] = values[:steps]
    return padded


@contextlib.contextmanager
def _zipped(path: Path) -> Iterator[IO[bytes]]:
    """A stream into the only file of a new zip, which is text of the same name."""
    entry = zipfile.ZipInfo(f"{path.stem}.txt", date_time=(1980, 1, 1, 0, 0, 0))  # same content, same bytes
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    with zipfile.ZipFile(path, "w") as archive, archive.open(entry, "w", force_zip64=True) as stream:
        yield stream


def _with_duration(song: Song, converted: Converted) -> Song:
    return song._replace(duration=round(converted.seconds, 5)) if math.isnan(song.duration) else song


def _write_tables(folder: Path, plays: PlayCounts, songs: list[Song]) -> None:
    with (folder / "triplets.txt").open("w", encoding="utf-8", newline="") as file:
        rows = zip(plays.users.tolist(), plays.songs.tolist(), plays.ratings().tolist(), strict=True)
        file.writelines(f"{user} {song} {rating}\n" for user, song, rating in rows)
    columns = ["song_id", "artist_name", "title", "release", "year", "duration"]
    _write_csv(folder / "song_information.csv", pd.DataFrame(songs, columns=list(Song._fields))[columns])
    for name, column, ids in (("song", "song_id", plays.song_ids), ("user", "user_id", plays.user_ids)):
        table = pd.DataFrame({column: ids, "number": np.arange(len(ids))})
        _write_csv(folder / f"{name}_to_number_matching.csv", table)


def _write_csv(path: Path, table: pd.DataFrame, index: bool = True) -> None:
    # A carriage return is put into no quotes where lines end with a line feed, and would read as the end of a row.
    text = table.replace("\r", " ", regex=True)
    # The name of a file may be no UTF-8.
    text.to_csv(path, index=index, encoding="utf-8", lineterminator="\n", errors="backslashreplace")


def _link_files(folder: Path, files: list[Path]) -> None:
    folder.mkdir()
    for number, file in enumerate(files):
        target = folder / f"{number}.mid"
        if is_gzip(file):
            target.write_bytes(unpacked(file.read_bytes(), MAX_BYTES))
            continue
        try:
            target.hardlink_to(file.resolve())
        except OSError:  # another file system, or somebody else's file
            shutil.copyfile(file, target)

"""The folder ``dlrs-data/``: where the files of MSD-A lie, and whether those of one dataset belong together.

Names are those of tartarus, the released code. Every matrix has its rows in the order of the index of its set and
split; ``MSD-A-artists`` has a row for each artist, ``MSD-A-songs`` one for each song. The files of the test split and
the user factors may also lie in ``test_data/``, where the code built on tartarus moves them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from audiotext.matrices import read_csr, read_dense, read_ids, write_csr, write_dense, write_ids, zero_rows
from common.arrays import digests, fingerprint
from common.console import counted
from common.options import UserError, replacing, require
from common.tables import Column, open_table

__all__ = ["ARTISTS", "SONGS", "TEXTS", "Layout", "read_csr", "write_csr", "zero_rows"]

Split = Literal["train", "test"]
Part = Literal["factors", "text", "audio"]
PARTS: tuple[Part, ...] = ("factors", "text", "audio")
ItemSet = Literal["MSD-A-artists", "MSD-A-songs"]
ARTISTS: ItemSet = "MSD-A-artists"
SONGS: ItemSet = "MSD-A-songs"
PATCHES = {"corrected": "patches", "released": "patches_released"}
"""Protocol -> folder of the patches, which differ in what they make of silence."""
PATCHED = "songs.tsv"
"""Beside patches of all songs: their ids, one per line, in the order of the rows."""
TEXTS = {"a-text": "bio", "a-sem": "sem-bio", "a-tags": "tags"}
"""Kind of text -> its name in ``X_train_<name>_MSD-A-artists.npz``. Released is sem-bio alone."""


def _read_lines(path: Path, columns: Mapping[str, Column]) -> pd.DataFrame:
    """The lines of a table of ids without a header, the first column of which names every item once."""
    with open_table(path, columns, header=list(columns), separator="\t", quotes=False) as table:
        frame = table.frame()
        first = next(iter(columns))
        again = np.flatnonzero(frame[first].duplicated())
        if len(again):
            raise table.error(int(again[0]), f"the {first} {frame[first].iloc[again[0]]!r} is there already")
        return frame


@dataclass(frozen=True)
class Layout:
    """The files below ``folder``; ``load_*`` and ``save_*`` read and write them, checked against each other.

    ``load_*`` raise :class:`common.options.UserError` if a file is missing, damaged or has another number of rows
    than the rest of the dataset.
    """

    folder: Path
    factors: int = 200
    """Columns of the item and user factors: a part of their files' names."""
    texts: Path | None = None
    """Folder of ``train_data/`` with the texts, if they lie elsewhere."""
    sound: Path | None = None
    """Folder with ``patches.npy`` of the songs in its ``songs.tsv``, whatever their split; None: each split has its own
    patches in ``folder``."""
    contents: Mapping[Path, str] = field(default_factory=dict, repr=False)
    """SHA-256 of files that is known, as they do not change."""
    memory: Path | None = None
    """Folder that remembers the SHA-256 of the other files."""
    counted: Mapping[str, Any] | None = field(default=None, repr=False)
    """What became of the rows of the raw files (:meth:`common.row_counts.RowCounts.as_json`); None if not known."""

    def path(self, name: str) -> Path:
        """Where the file ``name`` is written: features in ``train_data/``, all else in ``splits/``."""
        if name.startswith("X_"):
            return (self.texts or self.folder) / "train_data" / name
        return self.folder / "splits" / name

    def patches(self, protocol: str, split: Split) -> Path:
        """The patches of a split, or of all songs (:attr:`sound`)."""
        return self.sound / "patches.npy" if self.sound else self.folder / PATCHES[protocol] / split / "patches.npy"

    def fingerprint(self, files: Iterable[Path]) -> str:
        """SHA-256 over names and contents of those of ``files`` that there are.

        Raises:
            UserError: one cannot be read.
        """
        there = {str(Path(*path.parts[-2:])): path for path in files if path.is_file()}
        unknown = {name: path for name, path in there.items() if path not in self.contents}
        read = digests(unknown, self.memory)
        return fingerprint({name: self.contents.get(path) or read[name] for name, path in there.items()})

    def find(self, name: str) -> Path:
        """Where the file ``name`` is; where it should be if it is nowhere."""
        moved = self.folder / "test_data" / name
        return moved if moved.is_file() and not self.path(name).is_file() else self.path(name)

    def index_name(self, split: Split, items: ItemSet) -> str:
        """``items_index_train_MSD-A-songs.tsv``: one id per line."""
        return f"items_index_{split}_{items}.tsv"

    def factors_name(self, items: ItemSet) -> str:
        """``y_train_als_200_MSD-A-songs.npy``: item factors (train items, factors)."""
        return f"y_train_als_{self.factors}_{items}.npy"

    def user_factors_name(self, items: ItemSet) -> str:
        """``user_factors_als_200_MSD-A-songs.npy``: (users, factors)."""
        return f"user_factors_als_{self.factors}_{items}.npy"

    def matrix_test_name(self, items: ItemSet) -> str:
        """``matrix_test_MSD-A-songs.npz``: plays (test items, users)."""
        return f"matrix_test_{items}.npz"

    def text_name(self, split: Split, text: str = "a-sem") -> str:
        """``X_train_sem-bio_MSD-A-artists.npz``: tf-idf; ``text`` is a key of :data:`TEXTS`."""
        return f"X_{split}_{TEXTS[text]}_{ARTISTS}.npz"

    def artist_embedding_name(self, split: Split) -> str:
        """``X_train_a-sem-emb_MSD-A-songs.npy``: the embedding of each song's artist."""
        return f"X_{split}_a-sem-emb_{SONGS}.npy"

    def audio_name(self, split: Split) -> str:
        """``X_train_audio-emb_MSD-A-songs.npy``: audio embeddings of the songs."""
        return f"X_{split}_audio-emb_{SONGS}.npy"

    @property
    def artists_of_songs(self) -> Path:
        """``splits/artist_of_song.tsv``: song and artist, separated by a tab. Not among the released files."""
        return self.path("artist_of_song.tsv")

    def names_path(self, items: ItemSet) -> Path:
        """``splits/names_MSD-A-songs.tsv``: song, title, artist; of artists: artist, name. No released file."""
        return self.path(f"names_{items}.tsv")

    def load_index(self, split: Split, items: ItemSet) -> list[str]:
        """The ids of the items, in the order of the rows."""
        return read_ids(self.find(self.index_name(split, items)))

    def load_factors(self, items: ItemSet = SONGS) -> NDArray[Any]:
        """Factors of the training items (train items, factors), not normalised; rows may be all zero."""
        return self._dense(self.factors_name(items), "train", items, columns=self.factors)

    def load_user_factors(self, items: ItemSet = SONGS) -> NDArray[Any]:
        """Factors of the users (users, factors), used as they are."""
        path = self.find(self.user_factors_name(items))
        matrix = read_dense(path)
        self._require_columns(matrix.shape[1], self.factors, path)
        return matrix

    def load_matrix_test(self, items: ItemSet = SONGS) -> sparse.csr_matrix:
        """Plays of the test items (test items, users); the users are those of the user factors."""
        path = self.find(self.matrix_test_name(items))
        matrix = read_csr(path)
        self._require_rows(matrix.shape[0], "test", items, path)
        require(bool((matrix.data >= 0).all()), f"{path}: holds negative play counts")
        users = self.find(self.user_factors_name(items))
        if users.is_file():
            rows = self.load_user_factors(items).shape[0]
            require(
                rows == matrix.shape[1],
                f"{path}: has {counted(matrix.shape[1], 'column')}, one for each user; expected {rows:,}, the rows of "
                f"{users}",
            )
        return matrix

    def load_audio(self, split: Split) -> NDArray[Any]:
        """Audio embeddings of the songs (songs, 4096 in the released data)."""
        return self._dense(self.audio_name(split), split, SONGS)

    def load_artist_embedding(self, split: Split) -> NDArray[Any]:
        """The embedding of each song's artist (songs, 2048 in the paper)."""
        return self._dense(self.artist_embedding_name(split), split, SONGS)

    def load_text(self, split: Split, text: str = "a-sem", items: ItemSet = ARTISTS) -> sparse.csr_matrix:
        """tf-idf with a row for each artist, or for each song if ``items`` is :data:`SONGS`.

        The file of that name has a row for each artist; people also keep one that is expanded to a row for each song
        under the same name. Both can be had for songs, as :attr:`artists_of_songs` tells how to expand the first.
        """
        path = self.find(self.text_name(split, text))
        matrix = read_csr(path)
        if items == ARTISTS:
            songs = self.rows(split, SONGS)
            expanded = songs is not None and matrix.shape[0] == songs[0] != (self.rows(split, ARTISTS) or songs)[0]
            hint = "; these are as many as there are songs: the file was expanded to one row for each song"
            self._require_rows(matrix.shape[0], split, ARTISTS, path, hint if expanded else "")
            return matrix
        return self._text_of_songs(matrix, split, path)

    def _text_of_songs(self, matrix: sparse.csr_matrix, split: Split, path: Path) -> sparse.csr_matrix:
        songs, artists = self.rows(split, SONGS), self.rows(split, ARTISTS)
        found = matrix.shape[0]
        mapped = self.artists_of_songs.is_file()
        if artists is not None and found == artists[0] and mapped:
            return matrix[self._artist_rows(split)]
        if songs is None or found == songs[0]:
            return matrix
        if artists is None or found != artists[0]:
            known = f" (or {artists[0]:,}, one for each artist of {artists[1]})" if artists else ""
            raise UserError(
                f"{path}: has {counted(found, 'row')}; expected {songs[0]:,}, one for each song of {songs[1]}{known}"
            )
        raise UserError(
            f"{path}: has {counted(found, 'row')}, one for each artist, but songs need {songs[0]:,}, one for each song "
            f"of {songs[1]}; write lines of song, tab, artist into {self.artists_of_songs}, or expand the matrix"
        )

    def _artist_rows(self, split: Split) -> NDArray[np.int64]:
        artist_of = self.load_artists_of_songs()
        row = {artist: number for number, artist in enumerate(self.load_index(split, ARTISTS))}
        rows = []
        for song in self.load_index(split, SONGS):
            artist = artist_of.get(song)
            if artist is None:
                raise UserError(f"{self.artists_of_songs}: lacks the song {song!r} of the {split} split")
            if artist not in row:
                index = self.find(self.index_name(split, ARTISTS))
                raise UserError(f"{self.artists_of_songs}: {artist!r}, the artist of {song!r}, is not in {index}")
            rows.append(row[artist])
        return np.array(rows, np.int64)

    def load_artists_of_songs(self) -> dict[str, str]:
        """Song id -> artist id, from :attr:`artists_of_songs`."""
        path = self.artists_of_songs
        frame = _read_lines(path, {"song": Column("text"), "artist": Column("text")})
        require(len(frame) > 0, f"{path}: is empty; expected lines of a song, a tab and its artist")
        return dict(zip(frame.song, frame.artist, strict=True))

    def load_names(self, items: ItemSet) -> dict[str, tuple[str, ...]]:
        """Song id -> title and artist, artist id -> name, as they are to be shown; empty if there is no such file."""
        path, shown = self.names_path(items), Column("text", empty=True)
        if not path.is_file():
            return {}
        more = {"name": shown} if items == ARTISTS else {"title": shown, "artist": shown}
        frame = _read_lines(path, {"id": Column("text"), **more})
        return {item: tuple(names) for item, *names in frame.itertuples(index=False)}

    def rows(self, split: Split, items: ItemSet) -> tuple[int, Path] | None:
        """How many items a split has and the file that says so: its index, else the factors or the plays; else None."""
        path = self.find(self.index_name(split, items))
        if path.is_file():
            return len(read_ids(path)), path
        path = self.find(self.factors_name(items) if split == "train" else self.matrix_test_name(items))
        if not path.is_file():
            return None
        return (read_dense(path) if split == "train" else read_csr(path)).shape[0], path

    def _dense(self, name: str, split: Split, items: ItemSet, columns: int | None = None) -> NDArray[Any]:
        path = self.find(name)
        matrix = read_dense(path)
        self._require_rows(matrix.shape[0], split, items, path)
        if columns is not None:
            self._require_columns(matrix.shape[1], columns, path)
        return matrix

    def _require_rows(self, found: int, split: Split, items: ItemSet, path: Path, hint: str = "") -> None:
        expected = self.rows(split, items)
        kind = "artist" if items == ARTISTS else "song"
        if expected is not None and expected[0] != found:
            raise UserError(
                f"{path}: has {counted(found, 'row')}; expected {expected[0]:,}, one for each {kind} of {expected[1]}"
                f"{hint}"
            )

    def _require_columns(self, found: int, expected: int, path: Path) -> None:
        require(
            found == expected, f"{path}: has {counted(found, 'column')}; expected {expected:,}, one for each factor"
        )

    def save_index(self, split: Split, items: ItemSet, ids: list[str]) -> None:
        """Write the ids of the rows."""
        write_ids(self.path(self.index_name(split, items)), ids)

    def save_artists_of_songs(self, artist_of: dict[str, str]) -> None:
        """Write song id -> artist id."""
        with replacing(self.artists_of_songs, "w") as file:
            file.writelines(f"{song}\t{artist}\n" for song, artist in artist_of.items())

    def save_names(self, items: ItemSet, names: Mapping[str, Sequence[str]]) -> None:
        """Write what :meth:`load_names` reads."""
        if not names:
            self.names_path(items).unlink(missing_ok=True)
            return
        with replacing(self.names_path(items), "w") as file:
            file.writelines("\t".join([item, *texts]) + "\n" for item, texts in names.items())

    def save_dense(self, name: str, matrix: NDArray[Any]) -> None:
        """Write the dense matrix ``name``, such as :meth:`factors_name` or :meth:`audio_name`."""
        write_dense(self.path(name), matrix)

    def save_csr(self, name: str, matrix: sparse.spmatrix | sparse.sparray) -> None:
        """Write the sparse matrix ``name``, such as :meth:`text_name` or :meth:`matrix_test_name`."""
        write_csr(self.path(name), matrix)

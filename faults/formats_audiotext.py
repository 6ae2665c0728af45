"""Good files of the formats of audiotext: raw material, sound, Last.fm's archive, and dlrs-data."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from faults.mutations import Format

RATE = 22_050


def write_collection(folder: Path) -> None:
    """Raw material of twelve artists with two songs each."""
    from audiotext.sample import SampleOptions, write_sample

    write_sample(folder, SampleOptions(out=folder, artists=12, songs=2, users=20, seconds=0.3))


def _raw(*names: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        write_collection(folder)
        if "plays.tsv.gz" in names:
            text = (folder / "plays.tsv").read_bytes()
            (folder / "plays.tsv.gz").write_bytes(gzip.compress(text, mtime=0))
            (folder / "plays.tsv").unlink()
        return [path for name in names for path in sorted(folder.glob(name))]

    return write


def _read_raw(folder: Path, _: Path) -> Any:
    from audiotext.raw import read_raw

    return read_raw(folder)


def _sound(kind: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        import soundfile

        wave = 0.3 * np.sin(np.arange(RATE // 4) / 20) + 0.01 * np.random.default_rng(1).standard_normal(RATE // 4)
        soundfile.write(folder / f"clip.{kind}", wave, RATE)
        return [folder / f"clip.{kind}"]

    return write


def _read_sound(folder: Path, _: Path) -> Any:
    from audiotext.audio.features import log_cqt

    return log_cqt(next(folder.iterdir()))


def _write_hetrec(folder: Path) -> list[Path]:
    tables = {
        "artists.dat": "id\tname\turl\tpictureURL\n" + "".join(f"{n}\tArtist {n}\tu\tp\n" for n in range(9)),
        "user_artists.dat": "userID\tartistID\tweight\n"
        + "".join(f"{u}\t{a}\t{1 + u * a}\n" for u in range(8) for a in range(9)),
        "tags.dat": "tagID\ttagValue\n" + "".join(f"{n}\ttag {n}\n" for n in range(6)),
        "user_taggedartists.dat": "userID\tartistID\ttagID\tday\tmonth\tyear\n"
        + "".join(f"{u}\t{a}\t{(u + a) % 6}\t1\t4\t2009\n" for u in range(8) for a in range(9)),
    }
    with zipfile.ZipFile(folder / "hetrec2011-lastfm-2k.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in tables.items():
            archive.writestr(name, text)
    return [folder / "hetrec2011-lastfm-2k.zip"]


def _read_hetrec(folder: Path, _: Path) -> Any:
    from audiotext.hetrec import read_hetrec

    return read_hetrec(folder)


def _write_matrices(*names: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        from scipy import sparse

        from audiotext import matrices

        draw = np.random.default_rng(2)
        plays = sparse.random(12, 9, 0.4, "csr", np.float32, draw)
        matrices.write_csr(folder / "plays.npz", plays)
        sparse.save_npz(folder / "scipy.npz", plays)
        matrices.write_dense(folder / "factors.npy", draw.standard_normal((12, 4)).astype(np.float32))
        matrices.write_ids(folder / "ids.tsv", [f"TR{n:03d}" for n in range(30)])
        return [folder / name for name in names]

    return write


def _read_matrices(folder: Path, _: Path) -> Any:
    from audiotext import matrices

    sparse_ones = [matrices.read_csr(folder / name) for name in ("plays.npz", "scipy.npz")]
    return sparse_ones, matrices.read_dense(folder / "factors.npy"), matrices.read_ids(folder / "ids.tsv")


def _write_kept(folder: Path) -> list[Path]:
    from audiotext.audio.scaler import Scaler
    from audiotext.text import TfIdf, documents

    write_collection(folder / "raw")
    from audiotext.raw import read_raw

    TfIdf(50).fit(documents(read_raw(folder / "raw"), "a-text")).save(folder / "tfidf.json")
    Scaler.fit(np.random.default_rng(1).standard_normal((6, 8, 10))).save(folder / "scaler.npz")
    return [folder / "tfidf.json", folder / "scaler.npz"]


def _read_kept(folder: Path, _: Path) -> Any:
    from audiotext.audio.scaler import Scaler
    from audiotext.text import TfIdf

    loaded = TfIdf.load(folder / "tfidf.json")
    return loaded.terms, loaded._vectorizer.idf_, Scaler.load(folder / "scaler.npz")


AUDIOTEXT_FORMATS = (
    Format("audiotext tsv", _raw("songs.tsv", "plays.tsv", "tags.tsv", "entities.tsv"), _read_raw),
    Format("audiotext tsv.gz", _raw("plays.tsv.gz"), _read_raw, "checksum"),
    Format("audiotext biographies", _raw("biographies/*.txt"), _read_raw),
    *(Format(f"audiotext {kind}", _sound(kind), _read_sound) for kind in ("wav", "flac", "ogg", "mp3")),
    Format("audiotext hetrec zip", _write_hetrec, _read_hetrec, "checksum"),
    Format("audiotext npz", _write_matrices("plays.npz", "scipy.npz"), _read_matrices, "checksum"),
    Format("audiotext npy", _write_matrices("factors.npy"), _read_matrices),
    Format("audiotext ids", _write_matrices("ids.tsv"), _read_matrices),
    Format("audiotext tfidf and scaler", _write_kept, _read_kept),
)

"""The released protocol against a slow re-statement of the released rules; the corrected one by what it promises."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

import pytest

from common.options import UserError
from dtnmr.dataset import SONG_FEATURES, USER_FEATURES, KkboxData
from dtnmr.options import DataOptions
from dtnmr.preprocess import prepare

# --- The released rules, one song and one user at a time ---------------------------------------------------------


def table(path: Path) -> list[dict[str, str]]:
    """Rows of a csv file as Python's reader gives them: line breaks within quotes stay as they are."""
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:] if row]


def cjk(text: str) -> bool:
    blocks = ((0x4E00, 0x9FFF), (0x3040, 0x30FF), (0xAC00, 0xD7A3), (0xE00, 0xE7F))
    return any(low <= ord(letter) <= high for letter in text for low, high in blocks)


def good_name(text: str) -> bool:
    return len(text) <= 25 and any(c.isspace() for c in text) and not cjk(text)


def oracle(folder: Path, options: DataOptions) -> dict[str, Any]:
    """What the released code makes of the files: kept songs and users, values, codes, playlists, examples."""
    train, test, songs, members = (table(folder / f"{name}.csv") for name in ("train", "test", "songs", "members"))
    count: dict[str, int] = {}
    for row in train:
        count[row["song_id"]] = count.get(row["song_id"], 0) + 1
    most = max(count.values())

    def walk(rows: list[dict[str, str]], key: str, rules: list[tuple[str, Any, Any]]) -> tuple[dict, dict]:
        """Id -> fields (as lists) of what stays, and column -> values shown."""
        gone: set[str] = set()
        shown: dict[str, set] = {}
        for column, read, rule in rules:
            shown[column] = set()
            for row in rows:
                values = [read(part) for part in row[column].split("|")]
                if row[key] in gone:
                    continue
                if all(rule(value) for value in values):
                    shown[column] |= set(values)
                else:
                    gone.add(row[key])
        kept: dict[str, Any] = {}
        for row in rows:
            if row[key] not in gone:
                kept[row[key]] = {column: [read(part) for part in row[column].split("|")] for column, read, _ in rules}
        return kept, shown

    def anything(_: object) -> bool:
        return True

    kept_songs, song_values = walk(
        songs, "song_id",
        [
            ("song_id", lambda part: count.get(part, 0) / most, lambda share: share > options.top),
            ("song_length", lambda part: int(part) / 1000, lambda seconds: seconds < 360),
            ("genre_ids", str, anything), ("artist_name", str.strip, good_name),
            ("composer", str.strip, good_name), ("language", str, anything),
        ],
    )  # fmt: skip
    kept_users, user_values = walk(
        members,
        "msno",
        [("bd", str, lambda age: 15 < int(age) < 60), ("gender", str, anything), ("city", str, anything)],
    )
    longest = max(song_values["song_length"], default=0)
    playlists, points = [], []
    for rows in (train, test):
        found: dict[str, list[tuple[str, str]]] = {}
        for row in rows:
            if row["msno"] in kept_users and row["song_id"] in kept_songs:
                found.setdefault(row["msno"], []).append((row["song_id"], row["source_system_tab"]))
        playlists.append(list(found.items()))
        points.append(
            [
                (user, song, [other for other, _ in plays].index(song))
                for user, plays in found.items()
                if options.min_playlist_len < len(plays) < options.max_playlist_len
                for song, _ in plays[options.min_playlist_len :]
            ]
        )
    tabs = {tab for _, plays in playlists[0] for _, tab in plays} - {"null", "settings"}
    names = dict(zip(("genre_ids", "artist_name", "composer", "language"), SONG_FEATURES, strict=True))
    of_users = dict(zip(("bd", "gender", "city"), USER_FEATURES, strict=True))
    return {
        "longest": longest,
        "songs": {
            song: ([round(row["song_length"][0] / longest, 4)] if longest else [])
            + [set(row[column]) for column in names]
            for song, row in kept_songs.items()
        },
        "users": {user: [set(row[column]) for column in of_users] for user, row in kept_users.items()},
        "values": {names[column]: song_values[column] for column in names}
        | {of_users[column]: user_values[column] for column in of_users}
        | {"behaviour": tabs},
        "playlists": playlists,
        "points": [[point for point in part if point[2] >= options.long_term_len] for part in points],
    }


def ours(data: KkboxData) -> dict[str, Any]:
    """The same, of prepared data."""

    def words(bits: Any, features: tuple[str, ...]) -> list[set[str]]:
        names = [(feature, value) for feature in features for value in data.values[feature]]
        return [{names[bit][1] for bit in bits if names[bit][0] == feature} for feature in features]

    playlists: list[list[Any]] = [[], []]
    for row, owner in enumerate(data.owners):
        tabs = [data.values["behaviour"][tab] if tab >= 0 else None for tab in data.behaviours[row]]
        plays = list(zip([data.song_ids[song] for song in data.songs_played[row]], tabs, strict=True))
        playlists[int(data.trained[row] == 0)].append((data.user_ids[owner], plays))
    points = [
        [
            (data.user_ids[data.owners[row]], data.song_ids[data.songs_played[row][place]], place)
            for row, place in zip(part.playlists, part.positions, strict=True)
        ]
        for part in (data.train, data.test)
    ]
    return {
        "longest": data.longest_length,
        "songs": {
            song: [float(data.lengths[number]), *words(data.song_bits[number], SONG_FEATURES)]
            for number, song in enumerate(data.song_ids)
        },
        "users": {user: words(data.user_bits[number], USER_FEATURES) for number, user in enumerate(data.user_ids)},
        "values": {feature: set(values) for feature, values in data.values.items()},
        "playlists": playlists,
        "points": points,
    }


# --- Adversarial files -------------------------------------------------------------------------------------------

NAMES = [
    "Ann Lee", "Bo Rae", " Cy Dow ", "Solo", "", "x" * 12 + " " + "y" * 12, "x" * 13 + " " + "y" * 12, "Two\nLines",
    "A\rB", "aaaaaaaaaaaa\rbbbbbbbbbbbbb", "\r\nEdge One\r", "x" * 12 + "\r\n" + "y" * 12, 'The "Q" Z', "comma, name",
    "張 信哲", "BTS 방탄", "nb\u00a0sp", "em\u2003space", "us\x1fsep", "zero\u200bw idth", "\u3000Wide Ｎame\u3000",
    "Ann Lee|Solo", "Ann Lee| Bo Rae", "Ann Lee||Bo Rae", "Ann Lee|", "NaN na", "NULL x", "㐀 extA", "ー x", "nel\x85x",
]  # fmt: skip
LENGTHS = ["200000", "100000", "359999", "360000", "0", "-5000", "+200000", " 3000", "2_5000", "１２００００", "9" * 20,
           "100000|200000", "100000|400000", "0359998", "1"]  # fmt: skip
AGES = ["25", "025", "+25", " 25", "2_5", "２５", "15", "16", "59", "60", "0", "-43", "1051", "20|30", "20|70", "25 "]
GENRES = ["465", " 465", "465|458", "465| 458", "", "465|", "NaN", "1.0", "465|465"]
LANGUAGES = ["3", "3.0", "52.0", "", "-1.0", " 3", "3|52.0"]
CITIES = ["5", "5.0", "", "5|6", "13", " 5"]
GENDERS = ["male", "female", "", "Male", "male|female", "NaN"]
TABS = ["radio", "my library", "null", "settings", "", "Radio", "radio "]


def write_adversarial(folder: Path, seed: int) -> DataOptions:
    """Four small files in which every rule bites, and options."""
    draw = random.Random(seed)
    calm = draw.random() < 0.4  # a share of files whose names mostly pass, so that playlists are long

    def one(values: list[str], usual: str) -> str:
        return usual if calm and draw.random() < 0.8 else draw.choice(values)

    song_ids = [f"s{number}" for number in range(draw.randint(4, 24))] + (
        ["s0|s1", "s1|zz", ""] * (draw.random() < 0.3)
    )
    user_ids = [f"u{number}" for number in range(draw.randint(2, 9))] + ([""] * (draw.random() < 0.2))
    songs = [
        [song, one(LENGTHS, "200000"), one(GENRES, "1"), *(one(NAMES, name) for name in ("Ann Lee", "Bo Rae")), "",
         one(LANGUAGES, "3")]
        for song in [*song_ids, *draw.choices(song_ids, k=draw.choice([0, 0, 2, 6]))]
    ]  # fmt: skip
    users = [
        [user, one(CITIES, "5"), one(AGES, "25"), one(GENDERS, ""), "7", "1", "1"]
        for user in [*user_ids, *draw.choices(user_ids, k=draw.choice([0, 0, 1, 3]))]
    ]
    draw.shuffle(songs)
    draw.shuffle(users)

    def plays(count: int) -> list[list[str]]:
        weights = [1 / (1 + place) ** draw.choice([0, 1]) for place in range(len(song_ids) + 1)]
        return [
            [draw.choice([*user_ids, "nobody"]), draw.choices([*song_ids, "zz"], weights)[0], draw.choice(TABS)]
            for _ in range(count)
        ]

    files = {
        "train": ("msno,song_id,source_system_tab,source_screen_name,source_type,target",
                  [[*row, "x", "y", "1"] for row in plays(draw.randint(30, 200))]),
        "test": ("id,msno,song_id,source_system_tab,source_screen_name,source_type",
                 [[str(n), *row, "x", "y"] for n, row in enumerate(plays(draw.randint(10, 100)))]),
        "songs": ("song_id,song_length,genre_ids,artist_name,composer,lyricist,language", songs),
        "members": ("msno,city,bd,gender,registered_via,registration_init_time,expiration_date", users),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for name, (header, rows) in files.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            # All is quoted where the writer would otherwise leave a carriage return bare.
            end, quoting = draw.choice([("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL)])
            writer = csv.writer(file, lineterminator=end, quoting=quoting)
            writer.writerow(header.split(","))
            writer.writerows(rows)
    least = draw.randint(1, 4)
    return DataOptions(
        top=draw.choice([0, 0, 0.1, 0.25, 0.5]), min_playlist_len=least, max_playlist_len=draw.choice([9, 40, 200]),
        short_term_len=1, long_term_len=draw.randint(1, least), subset_size=2,
    )  # fmt: skip


def compare(folder: Path, seed: int) -> bool:
    """Whether there was anything to compare; the data must be equal, or rightly refused."""
    options = write_adversarial(folder / "raw", seed)
    expected = oracle(folder / "raw", options)
    usable = len(expected["songs"]) >= 2 and expected["points"][0] and expected["longest"] != 0
    if not usable:
        with pytest.raises(UserError):
            prepare(folder / "raw", folder / "out", options, "released")
        return False
    data = prepare(folder / "raw", folder / "out", options, "released")
    found = ours(data)
    known = expected["values"]["behaviour"]
    expected["playlists"] = [
        [(user, [(song, tab if tab in known else None) for song, tab in plays]) for user, plays in part]
        for part in expected["playlists"]
    ]
    assert {song: row[1:] for song, row in found["songs"].items()} == {
        song: row[1:] for song, row in expected["songs"].items()
    }
    assert list(found["songs"]) == list(expected["songs"]) and list(found["users"]) == list(expected["users"])
    for song, (code, *_) in expected["songs"].items():
        assert found["songs"][song][0] == pytest.approx(code, rel=1e-6, abs=1e-9)
    for name in ("longest", "users", "values", "playlists", "points"):
        assert found[name] == expected[name], name
    return True


SETS = 12


def test_released_rules_on_adversarial_files(tmp_path):
    compared = sum(compare(tmp_path / str(seed), seed) for seed in range(SETS))
    assert compared > SETS / 4

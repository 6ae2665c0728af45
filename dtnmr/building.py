"""Data preparation: from KKBOX's csv files to songs, users, playlists and examples, by either protocol."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common import console
from common.options import require
from dtnmr.data_options import DataOptions, Protocol
from dtnmr.dataset import BLANKS, SONG_FEATURES, USER_FEATURES, KkboxData, Points, Rows
from dtnmr.encoding import Encoder, scaled_length
from dtnmr.kkbox import Raw, Sources, read_files, read_titles, told
from dtnmr.playlists import continued_playlists, corrected_points, released_points, separate_playlists
from dtnmr.selection import Selected, select_corrected, select_released

TOO_SHORT = "examples with too short a history, as the song was played before"


def build(
    files: Sources,
    options: DataOptions,
    protocol: Protocol,
    fingerprint: str,
    named: Mapping[str, str] | None = None,
) -> KkboxData:
    """Read the files and make everything of them.

    Args:
        files: as of :func:`dtnmr.kkbox.kkbox_files`, or tables.
        options: which songs, users and plays to keep.
        protocol: of the data.
        fingerprint: of the data.
        named: see :func:`dtnmr.kkbox.read_files`.

    Raises:
        UserError: a file is broken, or the filters leave nothing to learn from.
    """
    released = protocol == "released"
    raw = read_files(files, released, named)
    _meet(files, raw)
    selected = select_released(raw, options) if released else select_corrected(raw, options)
    songs, counts = len(selected.song_ids), dict(selected.counts)
    counts |= {f"{part}: {BLANKS}": blanks for part, (_, blanks) in raw.files.items() if blanks}
    require(songs > 0, f"{told(files, 'songs')}: no song is left; lower --top, or see whether it belongs to train.csv")
    least, most = options.min_playlist_len, options.max_playlist_len
    reason = f"no user has a training playlist of more than --min-playlist-len {least} of the {songs:,} songs kept"
    if released:
        playlists = separate_playlists(selected.train, selected.test)
        train, test, unusable = released_points(playlists, options)
        validation = Points(np.empty(0, np.int32), np.empty(0, np.int32))
        counts[TOO_SHORT] = sum(unusable)
        reason = (
            f"all {unusable[0]:,} have a history shorter than --long-term-len {options.long_term_len}, as the user has "
            "played the song before"
            if unusable[0]
            else f"{reason}, and fewer than --max-playlist-len {most}"
        )
    else:
        playlists = continued_playlists(selected.train, selected.test, len(selected.user_ids))
        train, validation, test = corrected_points(playlists, options)
    require(
        len(train) > 0 or len(validation) == 0,
        f"--validation-share {options.validation_share} leaves no example to learn from; lower it",
    )
    require(
        len(train) > 0,
        f"{told(files, 'train')}: no example to learn from is left: {reason}; change these or --top",
    )
    require(
        selected.longest != 0,
        f"{told(files, 'songs')}: no song that is popular and short enough is longer than 0 ms; lengths cannot be "
        "scaled",
    )
    of_songs = {"id": named["song"]} if named and "song" in named else None
    titles = read_titles(files, set(selected.song_ids), released, counts, of_songs)
    values, behaviours = _behaviours(list(raw.names.tabs.numbers), selected, playlists.behaviours)
    return KkboxData(
        song_ids=selected.song_ids,
        user_ids=selected.user_ids,
        lengths=np.array([scaled_length(length, selected.longest) for length in selected.seconds], np.float32),
        song_bits=Encoder(selected.values, SONG_FEATURES, released).rows(selected.song_texts),
        user_bits=Encoder(selected.values, USER_FEATURES, released).rows(selected.user_texts),
        values=selected.values | {"behaviour": values},
        songs_played=playlists.songs_played,
        behaviours=behaviours,
        owners=playlists.owners,
        trained=playlists.trained,
        train=train,
        validation=validation,
        test=test,
        plays=np.bincount(selected.train.songs, minlength=songs).astype(np.int64),
        longest_length=selected.longest,
        released=released,
        fingerprint=fingerprint,
        counts=counts,
        longest_history=most - 1,
        titles=titles,
        notes=raw.notes,
    )


def _meet(files: Sources, raw: Raw) -> None:
    """Refuse files whose ids have nothing in common, with an example of each."""
    for part, what, listed, example, played in (
        ("songs", "song", raw.songs, raw.first_song, raw.names.songs),
        ("members", "user", raw.members, str(raw.members.texts.id.iloc[0]), raw.names.users),
    ):
        if part not in files:
            continue
        require(
            bool((listed.numbers >= 0).any()),
            f"{told(files, part)}: has no entry for any {what} of {told(files, 'train')}: ids are such as "
            f"{console.short(example)!r} here, and {console.short(next(iter(played.numbers)))!r} there",
        )


def _behaviours(tabs: list[str], selected: Selected, played: Rows) -> tuple[list[str], Rows]:
    """All tabs that have a column, those of the training plays, and the tabs of the playlists as numbers of theirs."""
    taken = [selected.tabs.get(tab) for tab in tabs]
    in_training = {taken[tab] for tab in np.unique(selected.train.tabs).tolist()}
    values = sorted(tab for tab in in_training if tab is not None)
    column: dict[str | None, int] = {tab: place for place, tab in enumerate(values)}
    numbers = np.array([column.get(tab, -1) for tab in taken], np.int32)
    return values, Rows(played.indptr, numbers[played.values])

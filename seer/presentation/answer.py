"""The answer to a request for recommendations: the console table, ``recommendations.json``, the page and its files."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import console
from common.console import counted
from common.folders import replacing_folder
from common.options import PROJECT, require, write_json
from common.reporting.schema import versions
from common.sources import Dataset
from seer.explain import SECOND, TIE, Explainer, Explanation
from seer.model import Networks
from seer.new_user import Person, read_ratings
from seer.options import RecommendOptions
from seer.preprocess import SeerData
from seer.presentation import page
from seer.presentation.explained import Explained, Shown
from seer.presentation.notes import clock
from seer.presentation.output import replaceable
from seer.presentation.sound import Synthesiser, find_synthesiser
from seer.recommender import SeER, best_songs
from seer.weights import WeightFile

_OTHERS = 200  # users with whom the request's user is compared
_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
_SHOWN = 5  # of the user's own ratings


@dataclass(frozen=True)
class Recommended:
    """A recommended song.

    Attributes:
        song: its number.
        rating: predicted for the whole of it.
        explanation: its section for this user.
        sections_of_others: how many different sections the first users of the dataset would be shown of it.
    """

    song: int
    rating: float
    explanation: Explanation
    sections_of_others: int


def answer(options: RecommendOptions, model: SeER) -> dict[str, Any]:
    """Answer a request: write the folder, print the table, return what ``recommendations.json`` holds."""
    data, weights, dataset = model.training_data(whole=False), model.weights, model.dataset
    assert weights is not None and dataset is not None
    architecture, variant = weights.architecture, weights.architecture.variant
    require(
        options.variant in (None, variant),
        f"{weights.path} holds a {variant} model, but --variant is {options.variant}",
    )
    synthesiser = find_synthesiser(options.soundfont) if options.audio else None
    person = _person(options, model)
    folder = _folder(options, person, weights)
    explainer = model.explainer(options.section_seconds, options.protocol, options.whole_song)
    found = recommended(model, explainer, person, options.top_k, options.leave_out_rated)
    facts = personal_facts(model.networks, model.hidden(), person, found)
    request = {
        "user": person.number,
        "name": person.name,
        "model": {
            "weights": str(weights.path),
            "variant": variant,
            "cell": architecture.cell,
            "gates": weights.gates or architecture.gate_activation,
        },
        "dataset": {"name": dataset.name, "synthetic": dataset.synthetic, "fingerprint": data.fingerprint},
        "protocol": options.protocol,
        "section_seconds": options.section_seconds,
        "rated_songs": "left out" if options.leave_out_rated else "included",
        "personalisation": facts,
        "recommendations": [as_json(one, data) for one in found],
        "versions": versions(),
    }
    note = personal_note(person, facts, variant)
    with replacing_folder(folder, lambda _: False) as beside:
        write_json(beside / "recommendations.json", request)
        shown, cards, sources = Shown(explainer, data, options.midi_dir or model.midi_dir), [], set()
        for rank, one in enumerate(found, 1):
            explained = Explained(one.rating, one.explanation, shown)
            sources.add(explained.notes.source)
            cards.append(_card(beside, rank, explained, synthesiser))
        played = f" Sound: {synthesiser.description}." if synthesiser else ""
        content = page.Content(
            heading=heading(found, person),
            model=_model_line(weights, dataset, options.protocol),
            synthetic=dataset.synthetic,
            note=note,
            rated=_highest_rated(person, data),
            recommendations=tuple(cards),
            sound=f"Notes: {'; '.join(sorted(sources))}.{played}",
            versions=", ".join(f"{name} {version}" for name, version in versions().items()),
        )
        page.write_page(beside / "index.html", content)
    print_recommendations(f"{heading(found, person)}{' (synthetic data)' if dataset.synthetic else ''}", found, data)
    console.say(note)
    if weights.note:
        console.say(weights.note)
    if all(len(one.explanation.scores) < 2 for one in found) and options.protocol == "corrected":
        steps = counted(architecture.sequence_length, "step")
        console.say(f"In training the model read {steps} of each song, hardly a section; --whole-song looks further.")
    console.say(f"Look and listen: {folder / 'index.html'}")
    return request


def _folder(options: RecommendOptions, person: Person, weights: WeightFile) -> Path:
    if options.output is not None:
        return replaceable(options.output, "--output")
    name = re.sub(r"[^\w.]+", "-", f"for-{person.name[:60]}-{weights.name[:60]}")
    return replaceable(PROJECT / "runs" / "seer" / name, "the default --output")


def personal_note(person: Person, facts: dict[str, float], variant: str) -> str:
    """In words: what of these recommendations is personal, and what is not."""
    users, songs, found = (int(facts[key]) for key in ("users_compared", "songs", "recommended"))
    level = f"{abs(facts['level']):.2f} {'above' if facts['level'] >= 0 else 'below'} the average user's"
    everybody = "the only user gets" if users == 1 else f"the first {users} users get"
    rankings = f"{everybody} {_count(facts['distinct_rankings'], 'ranking')} of {counted(songs, 'song')}"
    sections = _count(float(f"{facts['distinct_sections'] / found:.3g}"), "section")
    if variant == "concat":
        return (
            f"Not personal: this model adds a number for the user to a number for the song, so that {rankings} and the "
            f"same section of each. Only the level is {person.name}'s own: all ratings are {level}. Lists differ only "
            "where songs already rated are left out."
        )
    return (
        f"Personal: this model multiplies user and song; {rankings} and on average {sections} of each song "
        f"here. {_capital(person.name)}'s ratings are {level}; {facts['shared_with_average_top5']:g} of the five songs "
        "rated highest are among the average user's five."
    )


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}" if number == 1 else f"{number:g} different {noun}s"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def heading(found: list[Recommended], person: Person) -> str:
    """For example "Five songs for user 12"."""
    count = len(found)
    word = _NUMBERS[count] if count < len(_NUMBERS) else str(count)
    return f"{word} song{'' if count == 1 else 's'} for {person.name}"


def as_json(one: Recommended, data: SeerData) -> dict[str, Any]:
    """A recommendation as ``recommendations.json`` holds it; times in microseconds, null without explanation."""
    about = data.song_information.iloc[one.song]
    explanation, windows = one.explanation, one.explanation.windows
    section = explanation.section_us or (None, None)
    columns = (windows.first, windows.stop, windows.start_us, windows.end_us, explanation.scores)
    names = ("first_step", "stop_step", "start_us", "end_us", "rating")
    return {
        "song": one.song,
        "song_id": about["song_id"],
        "title": about["title"],
        "artist": about["artist_name"],
        "rating": one.rating,
        "start_us": section[0],
        "end_us": section[1],
        "segments": [
            dict(zip(names, (value.item() for value in row), strict=True)) for row in zip(*columns, strict=True)
        ],
    }


def print_recommendations(title: str, found: list[Recommended], data: SeerData) -> None:
    """The console table."""
    rows = []
    for rank, one in enumerate(found, 1):
        about = data.song_information.iloc[one.song]
        section = one.explanation.section_us
        when = "–" if section is None else "-".join(clock(us / SECOND) for us in section)
        rows.append([str(rank), about["title"], about["artist_name"], f"{one.rating:.2f}", when])
    console.print_table(title, ["", "song", "artist", "predicted rating", "explanation"], rows)


def _card(
    folder: Path,
    rank: int,
    one: Explained,
    synthesiser: Synthesiser | None,
) -> page.Recommendation:
    """A recommendation for the page; its picture and sounds are files in ``folder`` as well."""
    about = one.shown.data.song_information.iloc[one.explanation.song]
    album, year = str(about["release"]), int(about["year"]) or None
    known: dict[str, Any] = {"rank": rank, "title": one.title, "artist": one.artist}
    known |= {"rating": one.rating, "album": album, "year": year}
    explainer, section, chosen, heard = one.shown.explainer, one.explanation.section_us, one.chosen, one.audible
    (folder / f"{rank}.png").write_bytes(one.picture())
    if chosen is None:
        return page.Recommendation(explanation="No section: the model found no note in this song.", **known)
    if heard is None and explainer.protocol == "corrected":
        text = f"No section: all that the model reads of this song lies at one time ({clock(chosen[0])})."
        return page.Recommendation(explanation=text, **known)
    if heard is None:
        text = (
            f"The section that the released code chooses runs backwards ({clock(chosen[0])}-{clock(chosen[1])}, in "
            f"microseconds {section}): it lies around a silence of more than ten seconds, and the model read nothing "
            "but zeros."
        )
        return page.Recommendation(explanation=text, **known)
    sound, wav = one.midi() or b"", one.sound(synthesiser=synthesiser) if synthesiser else None
    (folder / f"{rank}.mid").write_bytes(sound)
    if wav:
        (folder / f"{rank}.wav").write_bytes(wav)
    explanation = page.Section(*heard, _why(one), one.drawn, wav, sound, section)
    return page.Recommendation(explanation=explanation, **known)


def _why(one: Explained) -> str:
    scores, explainer = one.explanation.scores, one.shown.explainer
    assert one.explanation.best is not None
    score = f"{scores[one.explanation.best]:.2f}"
    read = explainer.seen_seconds(one.explanation.song)
    whole = (
        f"the first {'second' if f'{read:.0f}' == '1' else f'{read:.0f} seconds'} of the song, which the model read in "
        f"training, {'is' if f'{read:.0f}' == '1' else 'are'} rated {one.rating:.2f}"
    )
    if len(scores) == 1:
        return f"There is no other section in what the model looks at. Alone it would be rated {score}; {whole}."
    tied = int(np.sum(scores >= scores.max() - TIE))
    this = "this one" if tied == 1 else f"{tied}, of which this is the first,"
    return (
        f"Of {len(scores)} sections of {explainer.seconds:g} seconds, {this} would be rated highest alone: {score} "
        f"(lowest {scores.min():.2f}); {whole}."
    )


def _model_line(weights: WeightFile, dataset: Dataset, protocol: str) -> str:
    a = weights.architecture
    cell = f"{a.cell}, {weights.gates} gates" if weights.gates else a.cell
    return (
        f"SeER {a.variant} ({cell}, {counted(a.latent_features, 'latent feature')}, "
        f"{counted(a.sequence_length, 'step')} of each song), "
        f"weights {weights.name}, dataset {dataset.name}, {protocol} protocol"
    )


def _highest_rated(person: Person, data: SeerData) -> tuple[page.Rated, ...]:
    order = np.argsort(-person.rated.values, kind="stable")[:_SHOWN]
    songs = data.song_information.iloc[person.rated.songs[order]]
    return tuple(
        page.Rated(float(rating), title, artist)
        for rating, title, artist in zip(person.rated.values[order], songs["title"], songs["artist_name"], strict=True)
    )


def _person(options: RecommendOptions, model: SeER) -> Person:
    """The user of the dataset, or the new one who wrote ``--ratings``."""
    if options.ratings is None:
        return model.known_user(options.user_number or 0)
    rated = read_ratings(options.ratings, model.training_data(whole=False).song_information)
    # The name of a file may hold bytes that are no text, or be longer than a heading.
    name = os.fsencode(options.ratings.name).decode("utf-8", "replace")
    author = f"the author of {name if len(name) <= 60 else f'{name[:59]}…'}"
    return model.folded_in(rated, author, options.ridge)


def recommended(
    model: SeER, explainer: Explainer, person: Person, count: int, leave_out_rated: bool
) -> list[Recommended]:
    """The ``count`` songs with the highest predicted rating, best first (ties: the lower song number), explained.

    Fewer are returned if there are no more candidates; songs that the user rated are none if ``leave_out_rated``.

    Raises:
        UserError: no candidate is left.
    """
    scores = model.networks.score_matrix(person.vector[None], model.hidden())[0]
    chosen = best_songs(scores, person.rated.songs if leave_out_rated else (), count)
    require(bool(chosen), f"{person.name} has rated all songs; add --include-rated")
    everybody = np.vstack([person.vector, _first_users(model.networks)])
    explained = explainer.explain_vectors(
        np.repeat(everybody, len(chosen), axis=0), np.tile(chosen, len(everybody))
    )  # in one call, which encodes the sections once
    found = []
    for place, song in enumerate(chosen):
        own, *others = explained[place :: len(chosen)]
        sections = {other.best for other in others} - {None}
        found.append(Recommended(int(song), float(scores[song]), own, len(sections)))
    return found


def _first_users(networks: Networks) -> np.ndarray:
    """Vectors of the users that a request is compared with."""
    return networks.user_vectors(np.arange(min(_OTHERS, networks.architecture.num_users)))


def personal_facts(
    networks: Networks, hidden: np.ndarray, person: Person, found: list[Recommended]
) -> dict[str, float]:
    """What of a request is personal, measured against the first users of the dataset."""
    users = _first_users(networks)
    everybody = networks.user_vectors(np.arange(networks.architecture.num_users)).mean(axis=0)
    scores = networks.score_matrix(np.vstack([users, person.vector, everybody]), hidden)
    order = np.argsort(-scores, axis=1, kind="stable")
    count = min(5, len(hidden))
    return {
        "users_compared": len(users),
        "songs": len(hidden),
        "distinct_rankings": len(np.unique(order[: len(users)], axis=0)),
        "distinct_top5": len(np.unique(order[: len(users), :count], axis=0)),
        "distinct_sections": sum(one.sections_of_others for one in found),
        "recommended": len(found),
        "level": float((scores[-2] - scores[-1]).mean()),
        "shared_with_average_top5": len(np.intersect1d(order[-2, :count], order[-1, :count])),
    }

"""The answer to a request for recommendations: the console table, ``recommendations.json``, the page and its files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common import console
from common.folders import replacing_folder
from common.options import PROJECT, require, write_json
from common.reporting.schema import versions
from common.sources import Dataset
from common.training import BlockPredictor
from seer.experiment import Loaded, load
from seer.explain import SECOND, TIE, Explainer
from seer.fitting import model_input
from seer.options import RecommendOptions
from seer.preprocess import SeerData
from seer.presentation import page
from seer.presentation.notes import clock, song_notes
from seer.presentation.output import replaceable
from seer.presentation.pictures import piano_roll
from seer.presentation.sound import Synthesiser, clip, find_synthesiser, midi_bytes
from seer.recommending import Person, Recommended, find_person, personal_facts, recommend

if TYPE_CHECKING:
    import pretty_midi

_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
_SHOWN = 5  # of the user's own ratings


def answer(options: RecommendOptions, path: Path, dataset: Dataset, data: SeerData) -> dict[str, Any]:
    """Answer a request: write the folder, print the table, return what ``recommendations.json`` holds."""
    loaded = load(path, data, options.gate_activation)
    seer, variant = loaded.seer, loaded.seer.architecture.variant
    require(options.variant in (None, variant), f"{path} holds a {variant} model, but --variant is {options.variant}")
    synthesiser = find_synthesiser(options.soundfont) if options.audio else None
    songs = model_input(data, seer.architecture)
    hidden = BlockPredictor(seer.encoder, min(256, len(songs)))(songs)
    person = find_person(options, seer, data, hidden)
    folder = _folder(options, person, loaded)
    explainer = Explainer(seer, data, options.section_seconds, options.protocol, options.whole_song)
    found = recommend(explainer, hidden, person, options.top_k, options.leave_out_rated)
    facts = personal_facts(seer, hidden, person, found)
    request = {
        "user": person.number,
        "name": person.name,
        "model": {
            "weights": str(path),
            "variant": variant,
            "cell": seer.architecture.cell,
            "gates": loaded.gates or seer.architecture.gate_activation,
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
        midi_dir = options.midi_dir or (dataset.raw / "midi" if (dataset.raw / "midi").is_dir() else None)
        cards, sources = [], set()
        for rank, one in enumerate(found, 1):
            notes = song_notes(midi_dir, one.song, np.asarray(data.midi[one.song]), np.asarray(data.times[one.song]))
            sources.add(notes.source)
            cards.append(_card(beside, rank, one, notes.midi, explainer, data, synthesiser))
        played = f" Sound: {synthesiser.description}." if synthesiser else ""
        content = page.Content(
            heading=heading(found, person),
            model=_model_line(loaded, dataset, options.protocol),
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
    if loaded.note:
        console.say(loaded.note)
    if all(len(one.explanation.scores) < 2 for one in found) and options.protocol == "corrected":
        steps = seer.architecture.sequence_length
        console.say(
            f"In training the model read {steps} steps of each song, hardly a section; --whole-song looks further."
        )
    console.say(f"Look and listen: {folder / 'index.html'}")
    return request


def _folder(options: RecommendOptions, person: Person, loaded: Loaded) -> Path:
    if options.output is not None:
        return replaceable(options.output, "--output")
    name = re.sub(r"[^\w.]+", "-", f"for-{person.name[:60]}-{loaded.name[:60]}")
    return replaceable(PROJECT / "runs" / "seer" / name, "the default --output")


def personal_note(person: Person, facts: dict[str, float], variant: str) -> str:
    """In words: what of these recommendations is personal, and what is not."""
    users, songs, found = (int(facts[key]) for key in ("users_compared", "songs", "recommended"))
    level = f"{abs(facts['level']):.2f} {'above' if facts['level'] >= 0 else 'below'} the average user's"
    rankings = f"the first {users} users get {_count(facts['distinct_rankings'], 'ranking')} of the {songs} songs"
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
    one: Recommended,
    midi: pretty_midi.PrettyMIDI,
    explainer: Explainer,
    data: SeerData,
    synthesiser: Synthesiser | None,
) -> page.Recommendation:
    """A recommendation for the page; its picture and sounds are files in ``folder`` as well."""
    about = data.song_information.iloc[one.song]
    album, year = str(about["release"]), int(about["year"]) or None
    known: dict[str, Any] = {"rank": rank, "title": about["title"], "artist": about["artist_name"]}
    known |= {"rating": one.rating, "album": album, "year": year}
    windows, section = one.explanation.windows, one.explanation.section_us
    whole = explainer.protocol == "released" or bool(windows.stop.size and windows.stop.max() > explainer.seen_steps)
    seen = None if whole or explainer.reads_whole(one.song) else explainer.seen_seconds(one.song)
    chosen = None if section is None else (section[0] / SECOND, section[1] / SECOND)
    heard = None if chosen is None or chosen[1] <= chosen[0] else chosen
    title = f"{about['title']} – {about['artist_name']}"
    picture = piano_roll(midi, windows.start_us / SECOND, one.explanation.scores, heard, seen, title)
    (folder / f"{rank}.png").write_bytes(picture.png)
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
    part = clip(midi, *heard)
    sound = midi_bytes(part)
    (folder / f"{rank}.mid").write_bytes(sound)
    wav = synthesiser.render(part, heard[1] - heard[0]) if synthesiser else None
    if wav:
        (folder / f"{rank}.wav").write_bytes(wav)
    explanation = page.Section(*heard, _why(one, explainer), picture, wav, sound, section)
    return page.Recommendation(explanation=explanation, **known)


def _why(one: Recommended, explainer: Explainer) -> str:
    scores = one.explanation.scores
    assert one.explanation.best is not None
    score = f"{scores[one.explanation.best]:.2f}"
    read = explainer.seen_seconds(one.song)
    whole = f"the first {read:.0f} seconds of the song, which the model read in training, are rated {one.rating:.2f}"
    if len(scores) == 1:
        return f"There is no other section in what the model looks at. Alone it would be rated {score}; {whole}."
    tied = int(np.sum(scores >= scores.max() - TIE))
    this = "this one" if tied == 1 else f"{tied}, of which this is the first,"
    return (
        f"Of {len(scores)} sections of {explainer.seconds:g} seconds, {this} would be rated highest alone: {score} "
        f"(lowest {scores.min():.2f}); {whole}."
    )


def _model_line(loaded: Loaded, dataset: Dataset, protocol: str) -> str:
    a = loaded.seer.architecture
    cell = f"{a.cell}, {loaded.gates} gates" if loaded.gates else a.cell
    return (
        f"SeER {a.variant} ({cell}, {a.latent_features} latent features, {a.sequence_length} steps of each song), "
        f"weights {loaded.name}, dataset {dataset.name}, {protocol} protocol"
    )


def _highest_rated(person: Person, data: SeerData) -> tuple[page.Rated, ...]:
    order = np.argsort(-person.rated.values, kind="stable")[:_SHOWN]
    songs = data.song_information.iloc[person.rated.songs[order]]
    return tuple(
        page.Rated(float(rating), title, artist)
        for rating, title, artist in zip(person.rated.values[order], songs["title"], songs["artist_name"], strict=True)
    )

"""How fast the session baselines rank: processor time of each, and of session-kNN as a loop over sessions in Python."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from measuring import measure, peak_megabytes, recording, show

from common.command import run_script
from common.session_baselines import BASELINES, NEIGHBOURS, SAMPLE, UNIT, Prefixes
from common.sessions import Sessions


@dataclass(frozen=True)
class Options:
    """Options of this benchmark; the sizes are those of a public set of #nowplaying sessions."""

    sessions: int = 128_000
    """Sessions to learn from."""
    events: int = 90_000
    """Events to rank the next item of."""
    items: int = 60_000
    """Items of the catalogue."""
    length: int = 7
    """Events of a session, on average."""
    looped: int = 500
    """Events that the loop in Python ranks."""


def made_up(rng: np.random.Generator, count: int, options: Options) -> Sessions:
    """Sessions of 2 events or more from lists of similar items: each item, by a power law, has some neighbours."""
    lengths = 2 + rng.geometric(1 / (options.length - 1), count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    seed = (options.items * rng.random(count) ** 3).astype(np.int64)
    near = (30 * rng.standard_normal(offsets[-1])).astype(np.int64)
    items = np.abs(np.repeat(seed, lengths) + near) % options.items
    return Sessions(items.astype(np.int32), offsets, np.arange(count, dtype=float))


def looped(train: Sessions, prefixes: Prefixes, targets: np.ndarray) -> list[int]:
    """How many items session-kNN ranks above each target, one prefix after the other; -1 for one without a score."""
    plays = np.bincount(train.items, minlength=int(targets.max()) + 1).tolist()
    sets = [set(train.items[a:b].tolist()) for a, b in zip(train.offsets, train.offsets[1:], strict=False)]
    within: dict[int, list[int]] = {}
    for number, items in enumerate(sets):
        for item in items:
            within.setdefault(item, []).append(number)
    above = []
    for start, end, target in zip(prefixes.starts, prefixes.ends, targets, strict=True):
        position = {item: place for place, item in enumerate(prefixes.items[start:end].tolist(), 1)}
        met = sorted({number for item in position for number in within.get(item, ())}, reverse=True)[:SAMPLE]
        shared = {number: [position[item] for item in sets[number] if item in position] for number in met}
        like = sorted(met, key=lambda number: (sum(shared[number]), number), reverse=True)[:NEIGHBOURS]
        scores: Counter[int] = Counter()
        for number in like:
            weight = sum(shared[number]) * UNIT // (end - start - max(shared[number]) + 1)
            for item in sets[number]:
                scores[item] += weight
        own = scores[target], plays[target]
        above.append(sum((score, plays[item]) > own for item, score in scores.items()) if own[0] else -1)
    return above


def main(options: Options) -> dict[str, float]:
    """Time learning and ranking of every baseline."""
    rng = np.random.default_rng(0)
    train = made_up(rng, options.sessions, options)
    prefixes, targets = Prefixes.of(made_up(rng, options.events, options))
    prefixes, targets = prefixes[: options.events], targets[: options.events]
    found: dict[str, float] = {"sessions": options.sessions, "events": options.events}
    for kind in BASELINES:
        ranked = measure(lambda kind=kind: kind(train, options.items).ranks(prefixes, targets))  # type: ignore[misc]
        above, level = ranked.result
        found[f"{kind.name}: cpu seconds"] = ranked.processor
        found[f"{kind.name}: recall@20"] = float(np.clip((20 - above) / level, 0, 1).mean())
    found["peak_memory_megabytes"] = peak_megabytes()
    some = slice(0, options.looped)
    taken = measure(lambda: looped(train, prefixes[some], targets[some]))
    plainly, seconds = taken.result, taken.processor * options.events / options.looped
    scored = np.array(plainly) >= 0
    assert scored.any() and (np.array(plainly) == above[some])[scored].all()
    found["loop_cpu_seconds"] = seconds
    found["session-kNN: loop_ratio"] = seconds / found["session-kNN: cpu seconds"]
    print(f"{options.sessions:,} training sessions, {options.events:,} events x {options.items:,} items")
    return show(found)


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)

"""From a data frame of sessions to recommendations, in Python; docs/python.md shows it, tests/docs_test.py runs it."""

# [the page begins]
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd

from encore import GRU4Rec

# Any table with a session, an item and a time in each row will do. Here listeners go through one of five albums.
rng = np.random.default_rng(1)
sessions, length = 400, 6
albums = np.repeat(rng.integers(5, size=sessions), length)
played = np.tile(np.arange(length), sessions)
events = pd.DataFrame(
    {
        "session": np.repeat(np.arange(sessions), length),
        "track": [f"album {album}, track {track}" for album, track in zip(albums, played, strict=True)],
        "when": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(sessions * length), unit="h"),
    }
)
columns = {"session": "session", "item": "track", "time": "when"}  # usual names, such as SessionId, need not be told
earlier, later = events[: 300 * length], events[300 * length :]

model = GRU4Rec(layers=[16], negatives=16, epochs=3, deterministic=True)
model.fit(earlier, **columns)

found = model.evaluate(later, **columns)
print(found.table()[["recall@20", "mrr@20"]].round(3))
print(found.sentence())

open_sessions = [["album 0, track 0", "album 0, track 1"], ["album 3, track 0"]]
best = model.recommend(open_sessions, k=3)
print(best)

folder = Path(mkdtemp()) / "model"
model.save(folder)
again = GRU4Rec.load(folder).recommend(open_sessions, k=3)
# [the page ends]

pd.testing.assert_frame_equal(best, again)

"""Sessions with skips in Python: continue them, and foretell skips; session_transformers/README.md shows it."""

# [the page begins]
import numpy as np
import pandas as pd

from encore import SessionTransformer

# Listeners go through one of five albums, and skip every fourth track of it, the first one to begin with.
rng = np.random.default_rng(1)
sessions, length = 300, 8
albums = np.repeat(rng.integers(5, size=sessions), length)
place = np.tile(np.arange(length), sessions)
plays = pd.DataFrame(
    {
        "session": np.repeat(np.arange(sessions), length),
        "track": [f"album {album}, track {number}" for album, number in zip(albums, place, strict=True)],
        "skipped": place % 4 == 0,
    }
)
earlier, later = plays[: 240 * length], plays[240 * length :]

small = {"width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "feed_forward": 16, "deterministic": True}
training = {"initialisation": "normal", "epochs": 6, "batch_size": 32, "learning_rate": 0.02}

model = SessionTransformer(task="seq", **small, **training).fit(earlier)
session = [f"album 2, track {number}" for number in range(4)]  # half of what it learnt from
print(model.recommend(session, k=3))
continued = model.continue_session(session, tracks=3)
print(continued)

skips = SessionTransformer(task="skip", **small, **training).fit(earlier)
print(skips.evaluate(later).table()["accuracy"].round(3))
heard = [(track, number == 0) for number, track in enumerate(session)]  # each track, and whether it was skipped
foretold = skips.predict_skips(heard, ["album 2, track 4", "album 2, track 5", "album 2, track 6"])
print(foretold)
# [the page ends]

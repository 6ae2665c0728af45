"""From plays and tags to artists that nobody has played; audiotext/README.md shows it, tests/docs_test.py runs it."""

# [the page begins]
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd

from encore import AudioText

# Here each listener loves one of three genres, and the tags of an artist tell the genre. Twelve artists are new.
rng = np.random.default_rng(1)
genre = np.array(["jazz", "metal", "folk"])
artists = [f"artist {n}" for n in range(72)]
heard = [(f"user {u}", artists[a]) for u in range(60) for a in range(60) if a % 3 == u % 3 and rng.random() < 0.5]
plays = pd.DataFrame(heard, columns=["user", "artist"])
tags = pd.DataFrame({"artist": np.repeat(artists, 2), "tag": np.stack([genre[np.arange(72) % 3], artists], 1).ravel()})
later = pd.DataFrame([(f"user {u}", artists[60 + (u + 3 * n) % 12]) for u in range(60) for n in range(2)])
later.columns = plays.columns

model = AudioText(model="a-tags", text_units=[16, 16], factors=8, als_regularisation=1, dropout=0.0, batch_size=8,
                  learning_rate=0.01, epochs=30, deterministic=True)  # fmt: skip
model.fit(plays, tags=tags)

found = model.evaluate(later)
print(found.table()[["map@10", "ndcg@10", "auc"]].round(3))
print(found.sentence())

best = model.recommend(["user 0", "user 1"], k=3)
print(best)

# An artist who is in no table: who would like it?
listeners = model.listeners(terms=["folk"], k=5)
print(listeners)

folder = Path(mkdtemp()) / "model"
model.save(folder)
again = AudioText.load(folder).recommend(["user 0", "user 1"], k=3)
model.network.summary()
# [the page ends]

pd.testing.assert_frame_equal(best, again)

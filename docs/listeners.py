"""From data frames of plays, songs and users to recommendations by DTNMR; dtnmr/README.md shows it, a test runs it."""

# [the page begins]
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd

from encore import DTNMR

# Songs are known by their metadata, users by what they have heard. Here each user loves one of three genres.
rng = np.random.default_rng(1)
genres = np.array(["jazz", "metal", "folk"])
songs = pd.DataFrame({"song": [f"song {n}" for n in range(60)], "genre": genres[np.arange(60) % 3]})
songs["artist"] = [f"artist {n}" for n in np.arange(60) % 15]
members = pd.DataFrame({"user": [f"user {n}" for n in range(120)], "age": rng.integers(16, 60, 120)})
loved = [rng.permutation(np.arange(n % 3, 60, 3))[:14] for n in range(120)]
plays = pd.DataFrame({"user": members.user.repeat(14), "song": songs.song.to_numpy()[np.concatenate(loved)]})
place = plays.groupby("user").cumcount()  # the rows of a user stand in the order of the plays
earlier, later = plays[place < 10], plays[place >= 10]

model = DTNMR(mlp=[16], embedding=8, lstm=8, lstm_layers=1, dropout=0.0, learning_rate=0.01, epochs=15,
              long_term_len=5, short_term_len=2, min_playlist_len=6, deterministic=True)  # fmt: skip
model.fit(earlier, songs=songs, members=members)

found = model.evaluate(later)
print(found.table()[["map", "recall@10", "auc"]].round(3))
print(found.sentence())

best = model.recommend(["user 0", "user 1"], k=3)
print(best)

# Whoever is new is told by what is known of them; songs that nobody has played yet are ranked by their metadata.
new_song = pd.DataFrame({"song": ["fresh"], "genre": ["folk"], "artist": ["artist 2"]})
for_a_newcomer = model.recommend(age=30, history=["song 2", "song 5", "song 8"], songs=new_song, k=50)
print(for_a_newcomer.head(3))

folder = Path(mkdtemp()) / "model"
model.save(folder)
again = DTNMR.load(folder).recommend(["user 0", "user 1"], k=3)
model.network["whole"].summary()  # and the paper's four parts: MFC, USFC, UDFC, RC
# [the page ends]

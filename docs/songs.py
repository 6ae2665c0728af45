"""From MIDI files and ratings to explained recommendations, in Python; docs/python.md shows it, tests/docs_test.py
runs it.
"""

# [the page begins]
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd
import pretty_midi

from encore import SeER

# A folder of MIDI files named by song id. Here six songs are for piano, six for drums, and half of all listeners like
# the one, half the other.
rng, folder = np.random.default_rng(1), Path(mkdtemp())
for song in range(12):
    midi, drums = pretty_midi.PrettyMIDI(), song % 2 == 1
    part = pretty_midi.Instrument(program=0, is_drum=drums)
    for beat in range(60):
        pitch = int(rng.integers(36, 50) if drums else rng.integers(60, 80))
        part.notes.append(pretty_midi.Note(100, pitch, beat / 3, beat / 3 + 0.2))
    midi.instruments.append(part)
    midi.write(str(folder / f"{'drums' if drums else 'piano'} {song}.mid"))
songs = sorted(path.stem for path in folder.iterdir())
rows = [
    {"user": f"user {user}", "song": song, "rating": 5 if song.startswith(("piano", "drums")[user % 2]) else 1}
    for user in range(30)
    for song in rng.permutation(songs)[:9]
]
ratings = pd.DataFrame(rows).sample(frac=1, random_state=1)  # usual names of columns need not be told
earlier, later = ratings[:220], ratings[220:]

model = SeER(variant="dot", latent_features=8, sequence_length=30, midi_scale=0.02, batching="songs", batch_size=4,
             learning_rate=0.03, epochs=30, deterministic=True)  # fmt: skip
model.fit(earlier, songs=folder)

found = model.evaluate(later)
print(found.table()[["rmse", "map@10"]].round(3))

best = model.recommend(["user 0", "user 1"], k=2)
print(best)
new = model.recommend(ratings={"piano 0": 5, "drums 1": 1}, k=2)  # somebody who was not there in training
print(new)

(why,) = model.explain("user 0", new["item"][0], seconds=5)
print(f"{why.song}, rated {why.rating:.2f}: most of all its seconds {why.start:.1f} to {why.end:.1f}")
print(why.sections.head())
(folder / "why.png").write_bytes(why.picture())
(folder / "why.wav").write_bytes(why.sound())

model.save(folder / "model")
again = SeER.load(folder / "model").recommend(["user 0", "user 1"], k=2)
# [the page ends]

pd.testing.assert_frame_equal(best, again)

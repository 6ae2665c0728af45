import numpy as np
import pytest
import soundfile

from audiotext import sample
from audiotext.raw import FILES, read_raw
from audiotext.sample import SampleOptions, draw_world, write_sample
from audiotext.sample_sound import RATE, clip
from common.arrays import digests
from common.options import UserError
from common.sources import MARKER, missing_files


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    options = SampleOptions(out=folder, artists=24, songs=3, users=50, seconds=1.0)
    return folder, options, write_sample(folder, options)


def test_the_sample_is_whole_and_has_its_rare_cases(small):
    folder, _, counts = small
    assert not missing_files(folder, FILES) and (folder / MARKER).is_file()
    raw = read_raw(folder)
    assert len(raw.song_names) == 72 and all(title and artist for title, artist in raw.song_names.values())
    assert len(raw.artist_names) == 24
    assert counts == {name: raw.counts[name] for name in counts} and counts["songs"] == 72
    assert raw.counts["songs without audio"] == 1 and raw.counts["artists without biography"] == 2
    assert raw.counts["artists without tags"] == raw.counts["artists without entities"] == 0
    waves = {path.name: soundfile.read(path)[0] for path in raw.audio if path is not None}
    silent = [name for name, wave in waves.items() if not wave.any()]
    short = [name for name, wave in waves.items() if len(wave) < RATE // 2]
    assert len(silent) == 2 and len(short) == 1 and soundfile.info(raw.audio[0]).samplerate == RATE
    assert np.median([len(wave) for wave in waves.values()]) == RATE
    assert all(0.7 < np.abs(wave).max() <= 0.85 for name, wave in waves.items() if name not in silent + short)


def test_the_same_seed_gives_the_same_bytes(small, tmp_path):
    folder, options, _ = small
    write_sample(tmp_path, options)
    assert _print(folder) == _print(tmp_path)
    write_sample(tmp_path, SampleOptions(out=tmp_path, artists=24, songs=3, users=50, seconds=1.0, seed=8))
    assert _print(folder) != _print(tmp_path)


def _print(folder):
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return digests(files, None)


def test_plays_follow_liking_and_a_power_law():
    options = SampleOptions(out=None, artists=60, users=200)  # type: ignore[arg-type]
    world = draw_world(options)
    plays = sample.draw_plays(world, np.random.default_rng(1))
    users, songs, counts = np.array(plays).T
    liking = world.liking()
    assert (liking[users, songs] - liking.mean(axis=1)[users]).mean() > 1
    assert len({(user, song) for user, song, _ in plays}) == len(plays) and counts.min() >= 1
    sizes = np.bincount(users)
    assert sizes.min() >= sample.FEWEST and sizes.max() <= sample.MOST and sizes.max() > 2 * np.median(sizes)
    np.testing.assert_array_equal(world.artist_of, np.repeat(np.arange(60), 6))


def test_sound_tells_the_mood():
    def centre(wave):
        power = np.abs(np.fft.rfft(wave)) ** 2
        return (power * np.arange(len(power))).sum() / power.sum()

    def made(mood):
        return clip(0, np.array(mood), 2.0, np.random.default_rng(3))

    assert centre(made([0, -2.0, 0])) < centre(made([0, 0, 0])) < centre(made([0, 2.0, 0]))
    assert centre(made([0, 0, -2.0])) < centre(made([0, 0, 2.0]))
    assert made([0, 0, 0]).shape == (2 * RATE,) and made([0, 0, 0]).dtype == np.float32


@pytest.mark.parametrize(
    "changes, message",
    [({"artists": 9}, "--artists is 9"), ({"songs": 0}, "--songs is 0"), ({"users": 0}, "--users is 0"),
     ({"seconds": 0.0}, "--seconds is 0"), ({"seed": -1}, "--seed is -1")],
)  # fmt: skip
def test_options(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        SampleOptions(out=tmp_path, **changes)


def test_command(tmp_path, capsys):
    found = sample.main(SampleOptions(out=tmp_path / "new", artists=10, songs=2, users=5, seconds=0.2))
    assert found["songs"] == 20 and "synthetic, 20 songs, 10 artists, 5 users" in capsys.readouterr().out

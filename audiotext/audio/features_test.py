import numpy as np
import pytest
import soundfile

from audiotext.audio.decode import SAMPLE_RATE, read_wave
from audiotext.audio.features import BINS, FLOOR, decibels, is_silent, log_cqt
from common.options import UserError


def tone(seconds=1.0, midi=69, rate=SAMPLE_RATE):
    return (0.5 * np.sin(2 * np.pi * 440 * 2 ** ((midi - 69) / 12) * np.arange(int(rate * seconds)) / rate)).astype(
        np.float32
    )


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """librosa compiles its kernels at their first use, in half a minute."""
    log_cqt(tone())


def test_a_tone_is_loudest_in_its_own_bin():
    found = log_cqt(tone(2.0))
    assert found.shape == (44, BINS) and found.dtype == np.float32
    assert (found[8:-8].argmax(axis=1) == 69 - 24).all()  # bins start at C1, MIDI 24
    assert found.max() == 0 and found.min() >= FLOOR


def test_level_makes_no_difference_unless_released():
    wave = tone() + 0.1 * tone(midi=40)
    np.testing.assert_allclose(log_cqt(wave), log_cqt(wave * 1e-4), atol=1e-2)
    np.testing.assert_allclose(log_cqt(wave), log_cqt(wave, "released"), atol=1e-4)
    assert log_cqt(wave * 1e-4, "released").mean() > log_cqt(wave).mean() + 10


def test_silence_is_the_floor_and_full_level_in_the_released_code():
    silence = np.zeros(SAMPLE_RATE, np.float32)
    assert (log_cqt(silence) == FLOOR).all() and is_silent(log_cqt(silence))
    assert (log_cqt(silence, "released") == 0).all() and is_silent(log_cqt(silence, "released"), "released")
    assert not is_silent(log_cqt(tone()))
    assert (decibels(np.full((2, 3), 1e-11)) == FLOOR).all()
    assert decibels(np.array([[1.0, 1e-3, 0.0]])).tolist()[0] == pytest.approx([0, -30, -80])


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_formats_channels_and_rates(tmp_path, suffix):
    path, rate = tmp_path / f"clip.{suffix}", 44_100
    left, right = tone(rate=rate), tone(midi=57, rate=rate)
    soundfile.write(path, np.stack([left, right], axis=1), rate)
    wave = read_wave(path)
    assert abs(len(wave) - SAMPLE_RATE) <= 1200 and wave.dtype == np.float32
    middle = log_cqt(path)[8:14].mean(axis=0)
    assert set(np.argsort(middle)[-2:]) == {69 - 24, 57 - 24}


def refusal(path):
    with pytest.raises(UserError) as caught:
        log_cqt(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_heard_is_refused_in_one_line(tmp_path, capfd):
    assert "no such file" in refusal(tmp_path / "none.mp3")
    assert "no such file" in refusal(tmp_path)
    (tmp_path / "text.mp3").write_text("no audio at all " * 500)
    assert "not audio" in refusal(tmp_path / "text.mp3")
    (tmp_path / "empty.wav").write_bytes(b"")
    assert "not audio" in refusal(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), SAMPLE_RATE)
    assert "holds no sound" in refusal(tmp_path / "none.wav")
    soundfile.write(tmp_path / "short.wav", tone(0.02), SAMPLE_RATE)
    assert "less than a frame" in refusal(tmp_path / "short.wav")
    bad = tone()
    bad[7] = np.nan
    soundfile.write(tmp_path / "nan.wav", bad, SAMPLE_RATE, subtype="FLOAT")
    assert "NaN" in refusal(tmp_path / "nan.wav")
    assert not any(capfd.readouterr())


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_file_that_is_cut_off_never_ends_in_a_traceback(tmp_path, suffix, capfd):
    soundfile.write(tmp_path / f"whole.{suffix}", np.random.default_rng(0).normal(0, 0.1, 60_000), SAMPLE_RATE)
    content = (tmp_path / f"whole.{suffix}").read_bytes()
    path = tmp_path / f"cut.{suffix}"
    for size in (0, 40, 500, len(content) // 2, len(content) - 7):
        path.write_bytes(content[:size])
        try:
            found = log_cqt(path)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert np.isfinite(found).all()
    assert not any(capfd.readouterr())

"""How fast patches are extracted from clips of 30 seconds, and where the time goes.

The clips are made up (noise and a chord) and written as Ogg at 44,100 Hz in stereo, as music comes. Reference, measured
in the same run: decoding and resampling alone, without which no spectrogram can be.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from measuring import measure, recording, show

from audiotext.audio.decode import read_wave
from audiotext.audio.features import log_cqt
from audiotext.audio.patches import PatchOptions, extract_all, patch_of
from common.command import run_script

RATE, SECONDS = 44_100, 30


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    clips: int = 200
    """Clips to extract."""
    jobs: int = 1
    """Processes; starting one takes some seconds, which count."""
    different: int = 10
    """Clips that are written; the others are the same files again."""


def write_clips(folder: Path, count: int) -> list[Path]:
    """Made-up music."""
    rng, seconds = np.random.default_rng(1), np.arange(RATE * SECONDS) / RATE
    paths = [folder / f"{number}.ogg" for number in range(count)]
    for path in paths:
        chord = sum(np.sin(2 * np.pi * 55 * 2 ** (note / 12) * seconds) for note in rng.integers(0, 60, 4))
        wave = 0.1 * np.stack([chord, chord]).T + rng.normal(0, 0.02, (len(seconds), 2))
        with soundfile.SoundFile(path, "w", RATE, 2) as file:
            for start in range(0, len(wave), RATE):  # libvorbis may fail on much at once
                file.write(wave[start : start + RATE])
    return paths


def main(options: Options) -> dict[str, float]:
    """Time the extraction of patches from audio files."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = write_clips(folder, min(options.different, options.clips))
        paths = {f"track{n}": files[n % len(files)] for n in range(options.clips)}
        found = {"first_clip_seconds": measure(lambda: log_cqt(files[0])).best}
        decoded = measure(lambda: [read_wave(path) for path in files])
        decoding = decoded.best / len(files)
        patched = measure(lambda: [patch_of(log_cqt(wave), "track", PatchOptions()) for wave in decoded.result])
        found |= {"decode_and_resample_ms": 1e3 * decoding, "log_cqt_ms": 1e3 * patched.best / len(files)}
        taken = measure(lambda: extract_all(paths, folder / "patches", jobs=options.jobs))
        seconds = taken.best
        found |= {"clips_per_second": options.clips / seconds, "per_core": options.clips / seconds / options.jobs}
        if options.jobs == 1:  # the time of other processes is not counted
            found["clips_per_cpu_second"] = options.clips / taken.processor
        found |= {"ratio_to_decoding": seconds * options.jobs / options.clips / decoding}
        again = measure(lambda: extract_all(paths, folder / "patches", jobs=options.jobs))
        found["resumed_when_done_seconds"] = again.best
    return show(found)


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)

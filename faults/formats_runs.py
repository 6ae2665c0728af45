"""Good files of runs and of prepared arrays, and what reads them again."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from faults.formats_audiotext import write_collection
from faults.formats_data import write_kkbox, write_mssd, write_seer
from faults.mutations import Format

SHAPES = {"dense.kernel": (6, 4), "dense.bias": (4,), "optimizer.iterations": ()}


class _Variable:
    """As much of a variable of Keras as a checkpoint needs."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype, self.value = shape, np.dtype(np.float32), np.zeros(shape, np.float32)

    def assign(self, value: Any) -> None:
        self.value = np.array(value)


def _write_checkpoint(folder: Path) -> list[Path]:
    from common.checkpoint import FILE, Progress, save_checkpoint

    draw = np.random.default_rng(1)
    arrays = {name: draw.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    history = [{"epoch": n, "loss": 1.5 / n, "val_loss": 2.5 / n} for n in (1, 2)]
    save_checkpoint(folder, arrays, Progress(2, history, [0.5, 0.25], 2, 12.5), arrays)
    return [folder / FILE]


def _read_checkpoint(folder: Path, _: Path) -> Any:
    from common.checkpoint import restore_checkpoint

    variables = {name: _Variable(shape) for name, shape in SHAPES.items()}
    progress, best = restore_checkpoint(folder, variables, list(SHAPES))
    return progress, best, {name: variable.value for name, variable in variables.items()}


@cache
def _model() -> Any:
    import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
    import keras

    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), keras.layers.Dense(2)])


def _write_weights(folder: Path) -> list[Path]:
    """Written by a process of its own, so that this one stays without TensorFlow."""
    import subprocess
    import sys

    code = "import sys; from pathlib import Path; from faults.formats_runs import _save; _save(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(folder / "model.weights.h5")], check=True, capture_output=True)
    return [folder / "model.weights.h5"]


def _save(path: Path) -> None:
    from common.weights import save_own_weights

    save_own_weights(path, _model())


def _read_weights(folder: Path, _: Path) -> Any:
    model = _model()
    from common.weights import load_own_weights

    load_own_weights(model, folder / "model.weights.h5")
    return [np.asarray(weight) for weight in model.weights]


def _write_released(folder: Path) -> list[Path]:
    """An HDF5 file as Keras 2 writes it."""
    import h5py

    draw = np.random.default_rng(1)
    with h5py.File(folder / "old.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense_1", b"dense_2"]
        for layer in ("dense_1", "dense_2"):
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/kernel:0".encode(), f"{layer}/bias:0".encode()]
            group[f"{layer}/kernel:0"] = draw.standard_normal((8, 6)).astype(np.float32)
            group[f"{layer}/bias:0"] = draw.standard_normal(6).astype(np.float32)
    return [folder / "old.h5"]


def _read_released(folder: Path, _: Path) -> Any:
    from common.weights import read_weights

    return read_weights(folder / "old.h5").layers


def _write_torch(folder: Path) -> list[Path]:
    draw = np.random.default_rng(1)
    np.savez(folder / "arrays.npz", weight=draw.standard_normal((5, 6)), bias=draw.standard_normal(5))
    return [folder / "arrays.npz"]


def _read_torch(folder: Path, _: Path) -> Any:
    from session_transformers.released import read_arrays

    return read_arrays(folder / "arrays.npz")


def _options(folder: Path) -> Any:
    from gru4rec.options import GruOptions

    return GruOptions(run_dir=folder, epochs=2, layers=(8,), negatives=16)


FACTS = {"architecture": {"num_items": 19, "layers": [8]}, "dataset": {"name": "sample", "fingerprint": "5f" * 32}}


def _write_options(folder: Path) -> list[Path]:
    from common.rundir import open_run

    open_run("gru4rec", "sample", _options(folder), FACTS)
    return [folder / "options.json"]


def _read_options(folder: Path, _: Path) -> Any:
    from common.command import parse
    from common.rundir import open_run
    from gru4rec.options import GruOptions

    options = parse(GruOptions, ["--resume", "--run-dir", str(folder)])
    open_run("gru4rec", "sample", options, FACTS)
    return options


def _write_metrics(folder: Path) -> list[Path]:
    from common.testing import run_result

    _write_options(folder)
    found = run_result(
        metrics={"recall@20": 0.25, "mrr@20": 0.125}, baselines={"popularity": {"recall@20": 0.1}}, epochs=2
    )
    (folder / "metrics.json").write_text(json.dumps(found, indent=1))
    (folder / "vocabulary.json").write_text(json.dumps({"ids": [f"t{n}" for n in range(19)]}, indent=1))
    (folder / "preset.json").write_text(json.dumps({"options": {"layers": [8], "learning_rate": 0.1}}, indent=1))
    return [folder / "metrics.json"]


def _read_metrics(folder: Path, _: Path) -> Any:
    from common.reporting.runs import figures_of, read_runs

    runs = list(read_runs(folder))
    return runs, figures_of(runs)


def _write_vocabulary(folder: Path) -> list[Path]:
    from common.rundir import open_run
    from common.vocabulary import digest, save_vocabulary

    ids = [f"t{n}" for n in range(60)]
    open_run("gru4rec", "sample", _options(folder), FACTS | {"vocabulary": digest(ids)})
    save_vocabulary(folder, ids)
    return [folder / "vocabulary.json"]


def _read_vocabulary(folder: Path, _: Path) -> Any:
    from common.vocabulary import read_vocabulary

    return read_vocabulary(folder)


def _write_preset(folder: Path) -> list[Path]:
    _write_metrics(folder)
    return [folder / "preset.json"]


def _read_preset(folder: Path, _: Path) -> Any:
    from common.command import parse
    from gru4rec.options import GruOptions

    return parse(GruOptions, ["--preset", str(folder / "preset.json")])


def _prepared(write: Callable[[Path], None], prepare: Callable[[Path, Path], Any]) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        (folder / "raw").mkdir(parents=True)
        write(folder / "raw")
        prepare(folder / "raw", folder / "prepared")
        return sorted(path for path in (folder / "prepared").rglob("*") if path.is_file())

    return make


def _prepare(paper: str, raw: Path, prepared: Path) -> Any:
    import importlib

    found = importlib.import_module(f"{paper}.preprocess").prepare(raw, prepared)
    return {name: value for name, value in vars(found).items() if name != "longest_history"}


def _read_prepared(paper: str, folder: Path, _: Path) -> Any:
    return _prepare(paper, folder / "raw", folder / "prepared")


def _prepare_audiotext(raw: Path, prepared: Path) -> Any:
    from audiotext.data_options import PrepareOptions
    from audiotext.dataset import read_items
    from audiotext.kinds import SONGS
    from audiotext.preprocess import prepare
    from common.sources import Dataset

    dataset = Dataset(raw, prepared, "sample", synthetic=True)
    layout = prepare(dataset, "raw", PrepareOptions(factors=4, jobs=1), ("factors", "text"))
    texts = [layout.load_text(split, "a-tags") for split in ("train", "test")]  # type: ignore[arg-type]
    return read_items(layout, SONGS), texts


def _read_audiotext(folder: Path, _: Path) -> Any:
    return _prepare_audiotext(folder / "raw", folder / "prepared")


_WRITERS: dict[str, Callable[[Path], None]] = {
    "seer": write_seer,
    "dtnmr": write_kkbox,
    "gru4rec": write_mssd,
    "session_transformers": partial(write_mssd, sessions=300),
}
RUN_FORMATS = (
    Format("checkpoint.npz", _write_checkpoint, _read_checkpoint, "checksum"),
    Format("model.weights.h5", _write_weights, _read_weights),
    Format("keras 2 h5", _write_released, _read_released),
    Format("torch npz", _write_torch, _read_torch, "checksum"),
    Format("options.json", _write_options, _read_options),
    Format("metrics.json", _write_metrics, _read_metrics),
    Format("vocabulary.json", _write_vocabulary, _read_vocabulary, "fingerprint"),
    Format("preset.json", _write_preset, _read_preset),
    *(
        Format(f"prepared {paper}", _prepared(write, partial(_prepare, paper)), partial(_read_prepared, paper),
               "fingerprint")
        for paper, write in _WRITERS.items()
    ),
    Format("prepared audiotext", _prepared(write_collection, _prepare_audiotext), _read_audiotext, "fingerprint"),
)  # fmt: skip

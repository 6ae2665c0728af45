"""Shared by all tests: quiet TensorFlow, a small thread pool per worker, the golden data and a private data folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # pytest-xdist already runs a worker per core
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import matplotlib.pyplot as plt
import pytest

from common.options import replacing
from common.reporting import charts

pytest_plugins = ["tests.processor_time"]
GOLDEN = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "tests" / "golden")


@pytest.fixture(scope="session")
def golden_seer() -> Path:
    """Folder of SeER's golden data; tests that need a file of it fail if it is missing."""
    return GOLDEN / "seer"


@pytest.fixture(scope="session", autouse=True)
def private_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared arrays and samples go to a temporary folder, not to the checkout's ``data/``."""
    folder = tmp_path_factory.mktemp("data")
    os.environ["ENCORE_DATA"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def seer_golden_data(golden_seer: Path, private_data: Path):
    """The golden dataset of SeER, prepared."""
    from seer.preprocess import prepare

    return prepare(golden_seer / "Data", private_data / "golden" / "prepared")


@pytest.fixture(scope="session", autouse=True)
def drawing() -> Iterator[Callable[[], AbstractContextManager[object]]]:
    """Makes blocks in which the pictures of runs are drawn. Elsewhere they are blank: drawing takes as long as the rest
    of a tiny run."""
    draw = charts._save
    with mock.patch.object(charts, "_save", _blank):
        yield lambda: mock.patch.object(charts, "_save", draw)


def _blank(figure: plt.Figure, path: Path) -> None:
    plt.close(figure)
    with replacing(path) as file:
        plt.imsave(file, [[0.0]], format="png")


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Run TensorFlow's functions as plain Python: tracing them takes longer than a tiny run itself."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental_run_functions_eagerly.*")
        yield
    tf.config.run_functions_eagerly(False)

"""The recommenders of the package cost nothing until something is computed."""

import subprocess
import sys

from common.options import PROJECT

CODE = """
import importlib, sys
import encore
for name, paper in encore.PLACES.items():
    kind = getattr(encore, name)
    assert kind is getattr(importlib.import_module(paper), name) and kind.__name__ == name
    kind(epochs=1)
    try:
        kind(epoch=1)
    except ValueError as error:
        assert "did you mean epochs" in str(error)
    else:
        raise AssertionError(name)
late = {"tensorflow", "keras", "librosa", "matplotlib"} & set(sys.modules)
assert not late, late
"""


def test_tensorflow_is_imported_when_something_is_computed():
    done = subprocess.run([sys.executable, "-c", CODE], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr

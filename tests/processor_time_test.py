"""The marker ``slow`` is kept true by the processor time that tests take."""

import os
import subprocess
import sys

from common.options import PROJECT

TESTS = """
import os, pytest
from tests import processor_time

def spend(seconds):
    real = processor_time.spent
    processor_time.spent = lambda: real() + seconds

def test_quick(): spend(7)
def test_listed(): spend(62)
def test_too_long(): spend(66)
def test_broken(): spend(68); assert 0, "broken"
@pytest.mark.slow
def test_marked(): spend(99)
@pytest.fixture
def large(): spend(30)
def test_of_a_fixture(large): spend(1)
"""


def test_unmarked_tests_above_the_limit_are_listed_and_fail_far_above_it(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    (tmp_path / "made_test.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.processor_time", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["--processor-times", "times.tsv", "made_test.py"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "2 failed, 4 passed" in done.stdout, done.stdout + done.stderr
    told = done.stdout.split("short test summary info")[0]  # which repeats messages where CI is set
    assert "FAILED made_test.py::test_too_long" in done.stdout and told.count("mark it @pytest.mark.slow") == 1
    listed = [line.split("::")[1] for line in done.stdout.splitlines() if line.startswith("took ")]
    assert listed == ["test_broken", "test_too_long", "test_listed"], done.stdout
    times = dict(reversed(line.split("\t")) for line in (tmp_path / "times.tsv").read_text().splitlines())
    assert float(times["made_test.py::test_of_a_fixture"]) >= 31 and float(times["made_test.py::test_marked"]) >= 99

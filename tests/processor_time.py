"""Test tiers: a pytest plugin that measures the processor time of each test and keeps the marker ``slow`` true.

Measured is the test itself, without fixtures, with the processes that it starts and waits for. An unmarked test that
takes more than the ini option ``slow_seconds`` is listed at the end. One that takes :data:`ALLOWANCE` times as much
fails: machines and their load differ, and no test may fail by chance. ``--processor-times FILE`` writes the time of
each test, fixtures included.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest

ALONE, WITH_FIXTURES = "processor seconds", "processor seconds with fixtures"
ALLOWANCE = 8
"""A test fails above this many times ``slow_seconds``."""


def spent() -> float:
    """Processor seconds of this process and of those that it waited for."""
    return sum(os.times()[:4])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("slow_seconds", "processor time from which on a test is marked slow", default="8")
    parser.addoption("--processor-times", type=Path, metavar="FILE", help="write the processor time of each test there")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # pytest-xdist's workers run the tests, this process reports
        config.pluginmanager.register(Summary(config), "processor time summary")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    yield from _measured(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    yield from _measured(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    yield from _measured(item)


TAKEN = pytest.StashKey[float]()


def _measured(item: pytest.Item) -> Generator[None, None, None]:
    before = spent()
    try:
        return (yield)
    finally:
        item.stash[TAKEN] = spent() - before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    seconds, limit = item.stash.get(TAKEN, 0.0), float(item.config.getini("slow_seconds"))
    if call.when == "call" and not item.get_closest_marker("slow"):
        report.user_properties.append((ALONE, seconds))
        if report.passed and seconds > ALLOWANCE * limit:
            report.outcome = "failed"
            report.longrepr = (
                f"{item.nodeid} took {seconds:.1f} s of processor time; one above {limit:g} s is marked slow: make it "
                "smaller, or mark it @pytest.mark.slow"
            )
    report.user_properties.append((WITH_FIXTURES, seconds))
    return report


class Summary:
    """Adds up what the tests took and lists those that should be marked."""

    def __init__(self, config: pytest.Config) -> None:
        self.limit = float(config.getini("slow_seconds"))
        self.file: Path | None = config.getoption("--processor-times")
        self.alone: dict[str, float] = {}
        self.whole: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, seconds in report.user_properties[-2:]:
            if name == ALONE and report.when == "call":
                self.alone[report.nodeid] = seconds
            elif name == WITH_FIXTURES:
                self.whole[report.nodeid] += seconds

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        rows = sorted(self.whole.items(), key=lambda row: -row[1])
        if self.file:
            self.file.write_text("".join(f"{seconds:.2f}\t{name}\n" for name, seconds in rows), "utf-8")
        for name, seconds in sorted(self.alone.items(), key=lambda row: -row[1]):
            if seconds > self.limit:
                terminalreporter.write_line(f"took {seconds:.1f} s of processor time, unmarked: {name}")
        terminalreporter.write_line(f"{sum(self.whole.values()):.0f} s of processor time in tests and fixtures")

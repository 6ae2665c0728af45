"""``python -m faults.audit``: fail if an installed package has a known vulnerability; a part of ``make lint``."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.options import PROJECT, UserError, require

PATIENCE = 15.0
"""Seconds in which the service that knows the advisories must answer to a first question."""
LONGEST = 600.0


def accepted(project: Path = PROJECT / "pyproject.toml") -> dict[str, str]:
    """Advisory -> why it does not concern this project, from ``[tool.encore.advisories]``.

    Raises:
        UserError: one has no reason.
    """
    found = tomllib.loads(project.read_text("utf-8")).get("tool", {}).get("encore", {}).get("advisories", {})
    for name, reason in found.items():
        require(isinstance(reason, str) and bool(reason.strip()), f"{project}: the advisory {name} needs a reason")
    return dict(found)


def open_advisories(report: Mapping[str, Any], known: Mapping[str, str]) -> list[str]:
    """A line for each advisory in a report of pip-audit (JSON) of which neither id nor alias is ``known``."""
    lines = []
    for package in report["dependencies"]:
        for advisory in package.get("vulns", []):
            names = [advisory["id"], *advisory.get("aliases", [])]
            if not set(names) & set(known):
                mended = ", ".join(advisory.get("fix_versions", [])) or "no version yet"
                lines.append(f"{package['name']} {package['version']}: {', '.join(names)}; mended in {mended}")
    return lines


def ask(arguments: Sequence[str], seconds: float) -> dict[str, Any] | None:
    """The report of pip-audit; None if it has none: the service cannot be reached, or takes too long."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        report = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return report if isinstance(report, dict) and isinstance(report.get("dependencies"), list) else None


def reachable() -> bool:
    """Whether the service answers to a question about one package."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("tqdm==4.66.5\n", "utf-8")
        return ask(["--no-deps", "--disable-pip", "--timeout", "5", "-r", str(file)], PATIENCE) is not None


def main() -> int:
    """Audit the packages of this environment; returns the exit status."""
    known = accepted()
    if importlib.util.find_spec("pip_audit") is None:
        print("not audited: pip-audit is not installed (requirements-dev.txt)")
        return 0
    report = ask(["--local", "--skip-editable"], LONGEST) if reachable() else None
    if report is None:
        print("not audited: the service that knows the advisories cannot be reached from here")
        return 0
    lines = open_advisories(report, known)
    print("\n".join(lines) or f"{len(report['dependencies'])} packages, no open advisory")
    if lines:
        print("Raise the version (make lock), or say why it is harmless in [tool.encore.advisories] of pyproject.toml.")
    return 1 if lines else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(2)

"""Presets: options under a name, or in a file such as ``preset.json`` of a search; the command line wins over them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from common.options import UserError, require

Presets = Mapping[str, Mapping[str, Any]]
"""Name of a preset -> its options by name."""
NOT_IN_A_PRESET = ("preset", "resume", "no_resume", "run_dir", "help", "h")
"""Options that tell one run from another, or ask for help."""


def as_arguments(options: Mapping[str, Any]) -> list[str]:
    """The command line that gives ``options``, by name with underscores; a dot leads into options within options.

    >>> as_arguments({"layers": [64, 32], "learning_rate": 0.1, "baselines": False, "ddpg.gamma": 0.9})
    ['--layers', '64', '32', '--learning-rate=0.1', '--no-baselines', '--ddpg.gamma=0.9']
    """
    arguments: list[str] = []
    for name, value in options.items():
        group, dot, last = name.replace("_", "-").rpartition(".")
        flag = f"--{group}{dot}{last}"
        if isinstance(value, bool):
            arguments.append(flag if value else f"--{group}{dot}no-{last}")
        elif isinstance(value, (list, tuple)):
            arguments += [flag, *map(str, value)]
        else:
            arguments.append(f"{flag}={value}")
    return arguments


def preset_in(arguments: Sequence[str]) -> str | None:
    """What ``--preset`` names in a command line that is not parsed yet; of several the last one."""
    found = None
    for argument, after in zip_longest(arguments, arguments[1:]):
        flag, equals, value = argument.partition("=")
        if flag == "--preset":
            found = value if equals else after
    return found


def options_of(preset: str, named: Presets) -> Mapping[str, Any]:
    """The options of a preset.

    Args:
        preset: a name in ``named``, or else the path of a JSON file: an object whose ``options`` is an object of
            numbers, texts, true, false, and lists of numbers or texts. What else it holds tells where they are from.
        named: the script's own presets.

    Raises:
        UserError: there is no such preset, or the file is not of this form.
    """
    if preset in named:
        return named[preset]
    path = Path(preset)
    names = f", or one of {', '.join(named)}" if named else ""
    require(path.is_file(), f"--preset is {preset}; expected a JSON file of options{names}")
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--preset {path}: cannot be read as JSON ({error})") from None
    options = content.get("options") if isinstance(content, dict) else None
    if not isinstance(options, dict):
        raise UserError(f'--preset {path}: expected an object {{"options": {{name: value, ...}}}}')
    for name, value in options.items():
        require(
            re.fullmatch(r"[a-zA-Z][\w.-]*", name) is not None and not name.lower().startswith("tyro"),
            f"--preset {path}: {name!r} is no name of an option",
        )
        single = name.lower().replace("-", "_").rpartition(".")[2] in NOT_IN_A_PRESET
        require(not single, f"--preset {path}: {name} is of a single run; give it on the command line")
        plain = (
            isinstance(value, bool) or _is_simple(value) or (isinstance(value, list) and all(map(_is_simple, value)))
        )
        require(plain, f"--preset {path}: {name} is {value!r:.60}; expected a number, a text, true, false, or a list")
        for one in value if isinstance(value, list) else ():
            hidden = isinstance(one, str) and one.startswith("-") and not _is_number(one)
            require(not hidden, f"--preset {path}: {name} holds {one!r:.60}, which would be an option of its own")
    return options


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_simple(value: object) -> bool:
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)

"""The folder in which an answer lies: what may be in it before it is replaced as a whole."""

from __future__ import annotations

import os
import re
from pathlib import Path

from common.options import require

_own = re.compile(r"recommendations\.json|index\.html|[0-9]+\.(png|mid|wav)")


def replaceable(folder: Path, flag: str) -> Path:
    """``folder`` without symbolic links, if nothing is lost when recommendations replace it.

    Args:
        folder: a new or empty folder, or one with recommendations and nothing else.
        flag: its option, for messages.

    Raises:
        UserError: it is a file, holds something else or is a mount point.
    """
    place = Path(os.path.realpath(folder))
    if not place.exists():
        return place
    require(place.is_dir(), f"{flag} {folder}: is a file; name a new folder")
    foreign = sorted(path.name for path in place.iterdir() if not _own.fullmatch(path.name))
    found = f"{foreign[0][:40]!r}" if foreign else ""
    require(not foreign, f"{flag} {folder}: holds something else ({found}), which would be lost; name a new folder")
    require(not place.is_mount(), f"{flag} {folder}: is a mount point and cannot be replaced; name a folder in it")
    return place

"""All formats of input files that are damaged on purpose."""

from __future__ import annotations

from faults.formats_audiotext import AUDIOTEXT_FORMATS
from faults.formats_data import DATA_FORMATS
from faults.formats_runs import RUN_FORMATS
from faults.mutations import Format

FORMATS: tuple[Format, ...] = (*DATA_FORMATS, *AUDIOTEXT_FORMATS, *RUN_FORMATS)

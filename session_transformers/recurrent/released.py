"""Weights of the released recurrent PyTorch models, to and from this project's models.

The arrays of a ``state_dict``: gates are stacked i, f, g, o (LSTM) or r, z, n (GRU), in rows. The table of tracks,
``embedding.weight``, holds the vectors' columns first, then the features'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from common.options import UserError, require
from session_transformers.kinds import RELEASED_IDS
from session_transformers.recurrent.architecture import RELEASED_RECURRENT, RecurrentArchitecture
from session_transformers.recurrent.layers import TrackTable
from session_transformers.recurrent.model import RecurrentModel, recurrent_slots

SIDES = ("encoder", "decoder")


def recurrent_architecture_of(arrays: Mapping[str, np.ndarray], **changes: Any) -> RecurrentArchitecture:
    """The released architecture whose state dict ``arrays`` is.

    Args:
        arrays: of the state dict.
        **changes: fields that it does not tell: dropout, how skips are told, which columns are vectors.

    Raises:
        UserError: not a state dict of one of the recurrent models.
    """
    try:
        vocabulary, width = arrays["encoder.embedding.weight"].shape
        classes, units = arrays["decoder.fc_out.weight"].shape
        gates = len(arrays["decoder.rnn.weight_hh_l0"]) // units
    except (KeyError, ValueError):
        names = ", ".join(sorted(arrays)[:9])
        raise UserError(f"not weights of a recurrent session model: they hold {names}, ...") from None
    require(gates in (3, 4), f"decoder.rnn.weight_hh_l0 has {gates} gates; an LSTM has 4, a GRU 3")
    found = RecurrentArchitecture(
        "bigru" if gates == 3 else "lstm",
        "skip" if classes == 2 else "seq",
        vocabulary,
        features=width,
        units=units,
        ids=RELEASED_IDS,
        switches=RELEASED_RECURRENT,
    )
    return replace(found, **changes)


def recurrent_from_torch(
    model: RecurrentModel, arrays: Mapping[str, np.ndarray], where: str = "the state dict"
) -> None:
    """Copy the arrays of a state dict into ``model``, which must have a table for each side.

    Raises:
        UserError: an array is missing, left over or of another shape; the model is then unchanged.
    """
    settings = model.architecture
    require(
        settings.switches.table_overwritten, "released weights have a table for each side: set table_overwritten on"
    )
    places = recurrent_slots(model)
    expected = {name: slot.shape() for name, slot in places.items()}
    expected |= {f"{side}.embedding.weight": (settings.vocabulary, settings.columns) for side in SIDES}
    missing, extra = sorted(set(expected) - set(arrays)), sorted(set(arrays) - set(expected))
    require(not missing, f"{where}: {', '.join(missing[:5])} missing for a {settings.model} model")
    require(not extra, f"{where}: {', '.join(extra[:5])} has no place in a {settings.model} model")
    for name, wanted in expected.items():
        shape = tuple(arrays[name].shape)
        require(shape == wanted, f"{where}: {name} has shape {shape}; the model expects {wanted}")
    for name, slot in places.items():
        slot.put(arrays[name])
    for side, table in zip(SIDES, (model.table, model.decoder_table), strict=True):
        _fill(table, arrays[f"{side}.embedding.weight"])


def recurrent_to_torch(model: RecurrentModel) -> dict[str, np.ndarray]:
    """The weights of ``model`` as arrays of a state dict; a table that both sides share comes twice."""
    tables = zip(SIDES, (model.table, model.decoder_table), strict=True)
    whole = {
        f"{side}.embedding.weight": np.concatenate([np.asarray(t) for t in _parts(table)], 1) for side, table in tables
    }
    return whole | {name: slot.get() for name, slot in recurrent_slots(model).items()}


def _parts(table: TrackTable) -> list[Any]:
    return [part for part in (table.vectors, table.features) if part is not None]


def _fill(table: TrackTable, array: np.ndarray) -> None:
    parts = _parts(table)
    ends = np.cumsum([part.shape[1] for part in parts])
    for part, columns in zip(parts, np.split(array, ends[:-1], axis=1), strict=True):
        part.assign(columns)

"""Weights of the released PyTorch classes into :class:`~session_transformers.reinforcement.networks.Networks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.options import require
from session_transformers.reinforcement.networks import Networks
from session_transformers.reinforcement.options import Sizes

NETWORKS = ("actor", "critic", "target_actor", "target_critic")
TABLES = {"state.user_embeddings.weight": "users", "state.item_embeddings.weight": "items"}


def sizes_of(arrays: Mapping[str, np.ndarray], memory: int = 5) -> Sizes:
    """The sizes of released weights; the last row of their table of tracks is the padding.

    Raises:
        UserError: not such weights.
    """
    needed = [*TABLES, "actor.layers.0.weight"]
    missing = [name for name in needed if name not in arrays or arrays[name].ndim != 2]
    require(not missing, f"not weights of the released actor and critic: no matrix {', '.join(missing)}")
    users, items, first = (arrays[name] for name in needed)
    return Sizes(len(items), items.shape[1], len(first), memory, pad=len(items) - 1, users=len(users))


def from_torch(networks: Networks, arrays: Mapping[str, np.ndarray], where: str = "the state dicts") -> None:
    """Copy released weights, named ``state.``, ``actor.``, ``critic.``, ``target_actor.``, ``target_critic.`` and the
    torch parameter.

    Raises:
        UserError: an array is missing, left over or of another shape; the networks are then unchanged.
    """
    places = _places(networks)
    odd = sorted(set(places) ^ set(arrays))
    require(not odd, f"{where}: {', '.join(odd[:5])} is there on one side only, the weights or the networks")
    for name, (variable, turned) in places.items():
        shape = tuple(variable.shape)[:: -1 if turned else 1]
        require(arrays[name].shape == shape, f"{where}: {name} has shape {arrays[name].shape}; expected {shape}")
    for name, (variable, turned) in places.items():
        variable.assign(arrays[name].T if turned else arrays[name])


def _places(networks: Networks) -> dict[str, tuple[Any, bool]]:
    """Released name -> our variable, and whether a matrix is turned over."""
    found: dict[str, tuple[Any, bool]] = {
        name: (getattr(networks.state, ours), False) for name, ours in TABLES.items() if hasattr(networks.state, ours)
    }
    for name in NETWORKS:
        layers = getattr(networks, name)
        for number, dense in ((0, layers.first), (2, layers.second)):
            found[f"{name}.layers.{number}.weight"] = (dense.kernel, True)
            found[f"{name}.layers.{number}.bias"] = (dense.bias, False)
    return found

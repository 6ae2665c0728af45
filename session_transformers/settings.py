"""What each model is trained with unless an option says otherwise: the released code's settings, and the sample's."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Literal, get_args

from common.options import require
from session_transformers import architecture, kinds
from session_transformers.autoencoder.options import AutoEncoderOptions
from session_transformers.kinds import AnyModel, Task
from session_transformers.recurrent.architecture import (
    CORRECTED_RECURRENT,
    RECURRENT_DEFAULTS,
    RELEASED_RECURRENT,
    RecurrentArchitecture,
)
from session_transformers.reinforcement.options import CORRECTED_DDPG, RELEASED_DDPG

AnyArchitecture = architecture.Architecture | RecurrentArchitecture
"""Of a network that is trained by example."""
Family = Literal["transformer", "recurrent", "autoencoder", "ddpg"]
TRAINING = ("epochs", "batch_size", "learning_rate", "clip")
SAMPLE: dict[str, Any] = {"batch_size": 64, "feed_forward": 256}
"""On the synthetic sample, whose 7,566 sessions would give a full-size model 30 steps an epoch."""


def family(model: AnyModel) -> Family:
    """What kind of model it is."""
    if model in get_args(kinds.RecurrentName):
        return "recurrent"
    return "transformer" if model in get_args(kinds.ModelName) else model  # type: ignore[return-value]


def has_task(model: AnyModel, task: Task) -> bool:
    """Whether there is such a model."""
    known = {*architecture.DEFAULTS, *RECURRENT_DEFAULTS, ("autoencoder", "skip"), ("ddpg", "skip"), ("ddpg", "seq")}
    return (model, task) in known


def defaults(model: AnyModel, task: Task, synthetic: bool) -> dict[str, Any]:
    """By name of the option: ``epochs``, ``batch_size``, ``learning_rate``, ``clip``, and on the sample some sizes."""
    if family(model) == "autoencoder":
        own = AutoEncoderOptions()
        return {"epochs": own.epochs, "batch_size": own.batch_size, "learning_rate": own.learning_rate}
    if family(model) == "ddpg":  # the reinforcement learner knows its own
        return {"epochs": 10 if synthetic else 20}
    known: Any = RECURRENT_DEFAULTS if family(model) == "recurrent" else architecture.DEFAULTS
    setting = known[model, task]
    found = {name: getattr(setting, name) for name in TRAINING}
    found["clip"] = found["clip"] or 0.0
    if synthetic:
        found |= SAMPLE | _on_sample(model, task)
    return found


def _on_sample(model: AnyModel, task: Task) -> dict[str, Any]:
    """Set by hand after one or a few runs on the sample; no search was made."""
    if family(model) == "recurrent":
        return {"epochs": 10, "learning_rate": 2e-3, "units": 128}
    if task == "skip":
        sizes = {} if model.startswith("bert") else {"width": 64, "encoder_layers": 2, "decoder_layers": 2}
        return {"epochs": 6, "learning_rate": 5e-4, "initialisation": "normal"} | sizes
    width = {} if model.startswith("bert-") else {"width": 128}
    return {"epochs": 14, "learning_rate": 1e-3, "initialisation": "normal"} | width


def switches(model: AnyModel, released: bool, bugs: tuple[str, ...]) -> Any:
    """The released behaviour that is asked for: all of it, or ``bugs`` by name.

    Raises:
        UserError: the model has no such bug.
    """
    both: dict[Family, tuple[Any, Any]] = {
        "transformer": (architecture.CORRECTED, architecture.RELEASED),
        "recurrent": (CORRECTED_RECURRENT, RELEASED_RECURRENT),
        "autoencoder": (architecture.CORRECTED, architecture.RELEASED),
        "ddpg": (CORRECTED_DDPG, RELEASED_DDPG),
    }
    corrected, everything = both[family(model)]
    known = [field.name for field in fields(corrected)] if model != "autoencoder" else []
    odd = [name for name in bugs if name not in known]
    require(not odd, f"--bugs {' '.join(odd)}: --model {model} has no such; it has {', '.join(known) or 'none'}")
    return everything if released else replace(corrected, **{name: getattr(everything, name) for name in bugs})

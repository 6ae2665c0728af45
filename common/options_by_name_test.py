"""Options as keyword arguments: names, types and nested options are checked as on the command line."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from common.options import UserError
from common.options_by_name import options_by_name


@dataclass(frozen=True)
class Inner:
    gamma: float = 0.9


@dataclass(frozen=True)
class Outer:
    loss: Literal["a", "b"] | None = None
    layers: tuple[int, ...] = ()
    rate: float = 0.1
    count: int = 1
    place: Path | None = None
    switched: bool = False
    pair: tuple[float, float] = (0.0, 1.0)
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise UserError("--count is below 0")


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"loss": "a"}, "loss", "a"),
        ({"loss": None}, "loss", None),
        ({"layers": [1, np.int64(2)]}, "layers", (1, 2)),
        ({"layers": np.array([3, 4])}, "layers", (3, 4)),
        ({"rate": 1}, "rate", 1.0),
        ({"rate": np.float32(0.5)}, "rate", 0.5),
        ({"place": "x"}, "place", Path("x")),
        ({"switched": np.True_}, "switched", True),
        ({"pair": [1, 2]}, "pair", (1.0, 2.0)),
        ({"inner": {"gamma": 1}}, "inner", Inner(1.0)),
        ({"inner.gamma": 0.5}, "inner", Inner(0.5)),
        ({"inner": Inner(0.2)}, "inner", Inner(0.2)),
    ],
)
def test_values_become_those_of_the_command_line(given, name, value):
    found = getattr(options_by_name(Outer, given, "Model"), name)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layer": [1]}, "Model has no option layer; did you mean layers?"),
        ({"xyz": 1}, "Model has no option xyz; there are count, inner, layers, loss, pair, place, rate, switched"),
        ({"loss": "c"}, "loss is 'c'; it must be 'a', 'b' or None"),
        ({"layers": 1}, "layers is 1; it must be a list, each a whole number"),
        ({"layers": "12"}, "layers is '12'; it must be a list, each a whole number"),
        ({"layers": [1.5]}, "layers is [1.5]; it must be a list, each a whole number"),
        ({"count": 1.0}, "count is 1.0; it must be a whole number"),
        ({"count": True}, "count is True; it must be a whole number"),
        ({"rate": "0.1"}, "rate is '0.1'; it must be a number"),
        ({"switched": 1}, "switched is 1; it must be True or False"),
        ({"place": 3}, "place is 3; it must be a path or None"),
        ({"pair": [1]}, "pair is [1]; it must be 2 values"),
        ({"inner": {"delta": 1}}, "Model(inner=...) has no option delta; did you mean"),
        ({"inner": 3}, "inner is 3; it must be a dictionary of options"),
        ({"count": -1}, "--count is below 0"),
    ],
)
def test_mistakes_are_told(given, message):
    with pytest.raises(ValueError) as told:
        options_by_name(Outer, given, "Model")
    assert str(told.value).startswith(message.partition(" did you mean")[0] if "delta" in message else message)

"""Options by keyword: a dataclass of command-line options made from Python values, with names and types checked."""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import numpy as np

from common.options import UserError

Options = TypeVar("Options")


def options_by_name(kind: type[Options], values: Mapping[str, Any], whose: str) -> Options:
    """Options of a dataclass; what is not named has its default.

    Args:
        kind: a dataclass; fields that are dataclasses themselves are given as a mapping, or as an instance.
        values: name -> value; ``"outer.inner"`` leads into options within options. Lists serve for tuples, texts for
            paths, whole numbers for numbers; NumPy's scalars are numbers.
        whose: for messages.

    Raises:
        UserError: a name is none of an option, a value has the wrong type, or what ``kind`` itself refuses.
    """
    hints, nested, given = typing.get_type_hints(kind), dict[str, dict[str, Any]](), dict[str, Any]()
    known = [field.name for field in dataclasses.fields(kind) if field.init]  # type: ignore[arg-type]
    for name, value in values.items():
        outer, dot, inner = name.partition(".")
        if outer not in known:
            near = difflib.get_close_matches(outer, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
            raise UserError(f"{whose} has no option {outer}; {hint}")
        if dot:
            nested.setdefault(outer, {})[inner] = value
        else:
            given[name] = _value(hints[name], value, name, whose)
    for outer, inner_values in nested.items():
        given[outer] = _value(hints[outer], inner_values, outer, whose)
    return kind(**given)


def _value(hint: Any, value: Any, name: str, whose: str) -> Any:
    found = _converted(hint, value, name, whose)
    if found is _WRONG:
        *first, last = _words(hint)
        words = f"{', '.join(first)} or {last}" if first else last
        raise UserError(f"{name} is {value!r:.80}; it must be {words}")
    return found


_WRONG = object()


def _converted(hint: Any, value: Any, name: str, whose: str) -> Any:
    """``value`` as ``hint`` wants it, or ``_WRONG``."""
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        fitting = (_converted(one, value, name, whose) for one in get_args(hint))
        return next((one for one in fitting if one is not _WRONG), _WRONG)
    if hint is types.NoneType:
        return None if value is None else _WRONG
    if origin is Literal:
        return value if any(type(value) is type(one) and value == one for one in get_args(hint)) else _WRONG
    if origin is tuple:
        return _tuple(get_args(hint), value, name, whose)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return options_by_name(hint, value, f"{whose}({name}=...)")  # type: ignore[arg-type]
        return value if isinstance(value, hint) else _WRONG  # type: ignore[arg-type]
    if (flag := isinstance(value, bool | np.bool_)) or hint is bool:  # a flag is no number, nor a number a flag
        return bool(value) if flag and hint is bool else _WRONG
    if hint in (int, float):
        return hint(value) if isinstance(value, Integral if hint is int else Real) else _WRONG
    if hint is Path:
        return Path(value) if isinstance(value, str | os.PathLike) else _WRONG
    return value if isinstance(value, hint) else _WRONG


def _tuple(kinds: Sequence[Any], value: Any, name: str, whose: str) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return _WRONG
    wanted = [kinds[0]] * len(value) if kinds[-1:] == (...,) else list(kinds)
    if len(wanted) != len(value):
        return _WRONG
    found = tuple(_converted(kind, one, name, whose) for kind, one in zip(wanted, value, strict=True))
    return _WRONG if any(one is _WRONG for one in found) else found


def _words(hint: Any) -> list[str]:
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return [word for one in get_args(hint) for word in _words(one)]
    if origin is Literal:
        return [repr(one) for one in get_args(hint)]
    if origin is tuple:
        kinds = get_args(hint)
        return [f"a list, each {' or '.join(_words(kinds[0]))}" if kinds[-1:] == (...,) else f"{len(kinds)} values"]
    if dataclasses.is_dataclass(hint):
        return ["a dictionary of options"]
    plain = {bool: "True or False", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
    return [plain.get(hint, "None" if hint is types.NoneType else str(hint))]

"""Makes dataclasses from parsed JSON, with every key and type checked."""

from __future__ import annotations

import functools
import reprlib
import types
import typing
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

T = TypeVar("T")

_SHOWN_CHARACTERS: Final = 80

_PLAIN: Final = (str, int, bool)
"""Types whose values are taken as a JSON parser gives them, where they are of no other type."""


def shorten(value: object) -> str:
    """Returns a value as a text for messages, at most 80 characters."""
    text = _SHORT.repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = _SHOWN_CHARACTERS
_SHORT.maxlist = _SHORT.maxdict = 8


def check_sizes(value: object, where: str, max_depth: int, max_items: int) -> None:
    """Refuses parsed JSON that is nested too deep, or holds a list or object that is too long.

    Afterwards recursive functions can walk through it safely.

    Args:
        value: what a JSON parser gave.
        where: the name of the value in messages, such as "manifest".
        max_depth: levels of lists and objects, the outermost included.
        max_items: entries of one list or object.

    Raises:
        ValueError: it is nested too deep, or holds a list or object that is too long.
    """
    level = [value]
    for _ in range(max_depth + 1):
        containers = [each for each in level if isinstance(each, list | dict)]
        if not containers:
            return
        longest = max(map(len, containers))
        if longest > max_items:
            raise ValueError(f"{where} has a list of {longest} entries, at most {max_items} are allowed")
        level = [
            inner for each in containers for inner in (each.values() if isinstance(each, dict) else each)
        ]
    raise ValueError(f"{where} is nested more than {max_depth} levels deep")


def build_record(kind: type[T], value: object, where: str) -> T:
    """Makes a dataclass from parsed JSON, with every key and type checked.

    Args:
        kind: the dataclass. Its fields may be strings, numbers, booleans, literals, None, dictionaries, other
            dataclasses, and tuples or unions of these.
        value: what a JSON parser gave.
        where: the name of the value in messages, such as "manifest".

    Raises:
        ValueError: a key is missing or unknown, or a value has another type; the message says where.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object")
    assert is_dataclass(kind)
    hints, known_fields = _fields_of(kind)
    unknown = sorted(value.keys() - known_fields.keys())
    if unknown:
        raise ValueError(f"{where} has the unknown key {shorten(unknown[0])}")
    arguments = {}
    for name, item in known_fields.items():
        if name in value:
            arguments[name] = _convert(hints[name], value[name], f"{where}.{name}")
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f"{where} lacks {name!r}")
    return typing.cast(T, kind(**arguments))


@functools.cache
def _fields_of(kind: type[Any]) -> tuple[dict[str, Any], dict[str, Field[Any]]]:
    """Returns the types and fields of a dataclass by name; cached, since resolving annotations is slow."""
    return typing.get_type_hints(kind), {item.name: item for item in fields(kind)}


@functools.cache
def _parts_of(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Returns the origin and arguments of an annotation: of `tuple[int, ...]`, tuple and (int, ...)."""
    return get_origin(hint), get_args(hint)


def _convert(hint: Any, value: object, where: str) -> Any:
    """Converts a value parsed from JSON to the type of an annotation; `where` is its name in messages."""
    if hint in _PLAIN and type(value) is hint:  # most values: a manifest holds thousands
        return value
    origin, options = _parts_of(hint)
    if origin is Literal:
        if not any(value == option and type(value) is type(option) for option in options):
            raise ValueError(f"{where} is {shorten(value)}, one of {', '.join(map(str, options))} is needed")
        return value
    if origin in (types.UnionType, typing.Union):
        if type(value) in options:
            return _convert(type(value), value, where)
        for option in options:
            try:
                return _convert(option, value, where)
            except ValueError:
                continue
        raise ValueError(f"{where} is {shorten(value)}, which is of the wrong type")
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list")
        return tuple(_convert(options[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be an object")
        return value
    if is_dataclass(hint):
        return build_record(typing.cast(type[Any], hint), value, where)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not -1e300 < value < 1e300:
            raise ValueError(f"{where} is not a finite number")
        return float(value)
    if hint is types.NoneType and value is None:
        return None
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{where} is {shorten(value)}, {getattr(hint, '__name__', hint)} is needed")
    return value

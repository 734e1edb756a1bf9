"""JSON as views: the client's side, with the standard library alone."""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

_KindT = TypeVar("_KindT")
_Reader = Callable[[Any], Any]


class MismatchError(ValueError):
    """The JSON is not what the type declares."""

    def __init__(self, problem: str, place: str = "") -> None:
        super().__init__(f"{place}: {problem}" if place else problem)
        self.problem = problem
        self.place = place

    def below(self, name: object) -> "MismatchError":
        """Return it as seen from the object or array that holds the value."""
        return MismatchError(self.problem, f"{name}.{self.place}" if self.place else str(name))


def decode(kind: type[_KindT], content: str | bytes) -> _KindT:
    """Return JSON as a view, or as a list of views; unknown members are ignored.

    Raises:
        MismatchError: it is not JSON, or not of this type.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MismatchError(f"not JSON: {error}") from error
    declared: Any = kind
    value: _KindT = _reader(declared)(document)
    return value


@cache
def _reader(kind: Any) -> _Reader:
    """Return the function that reads a value of a type."""
    origin = get_origin(kind)
    if origin is not None:
        return _GENERIC[origin](*get_args(kind))
    if is_dataclass(kind):
        return _object_of(kind)
    return _member_of(kind) if issubclass(kind, Enum) else _plain(kind)


def _plain(kind: type) -> _Reader:
    if kind is object:
        return lambda value: value
    kinds = {int, float} if kind is float else {kind}

    def read(value: Any) -> Any:
        # Not isinstance: to Python, true is a number.
        if type(value) not in kinds:
            raise MismatchError(f"not of type {kind.__name__}")
        return float(value) if kind is float else value

    return read


def _checked(kind: Any, mark: Any) -> _Reader:
    read_value = _reader(kind)

    def read(value: Any) -> Any:
        value = read_value(value)
        try:
            return mark.check(value)
        except ValueError as error:
            raise MismatchError(str(error)) from error

    return read


def _one_of(*values: object) -> _Reader:
    def read(value: Any) -> Any:
        if not any(type(value) is type(one) and value == one for one in values):
            raise MismatchError(f"not one of {', '.join(map(repr, values))}")
        return value

    return read


def _member_of(kind: type[Enum]) -> _Reader:
    def read(value: Any) -> Any:
        try:
            return kind(value)
        except ValueError as error:
            known = ", ".join(repr(one.value) for one in kind)
            raise MismatchError(f"not one of {known}") from error

    return read


def _optional(kind: Any, none: Any) -> _Reader:
    assert none is NoneType
    read_value = _reader(kind)
    return lambda value: None if value is None else read_value(value)


def _list_of(kind: Any) -> _Reader:
    read_item = _reader(kind)

    def read(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise MismatchError("not an array")
        return [_at(index, read_item, item) for index, item in enumerate(value)]

    return read


def _dict_of(name_kind: Any, kind: Any) -> _Reader:
    read_name, read_member = _reader(name_kind), _reader(kind)

    def read(value: Any) -> dict[Any, Any]:
        members = _object(value).items()
        return {_at(name, read_name, name): _at(name, read_member, it) for name, it in members}

    return read


_GENERIC: dict[Any, Callable[..., _Reader]] = {
    Annotated: _checked,
    Literal: _one_of,
    Union: _optional,
    UnionType: _optional,
    dict: _dict_of,
    list: _list_of,
}


def _object_of(kind: Any) -> _Reader:
    kinds: dict[str, Any] = {one.name: one.type for one in fields(kind)}
    readers = {name: _reader(kind) for name, kind in kinds.items()}
    required = [one.name for one in fields(kind) if one.default is MISSING]

    def read(value: Any) -> Any:
        members = _object(value)
        for name in required:
            if name not in members:
                raise MismatchError("missing", name)
        known = {name: read for name, read in readers.items() if name in members}
        return kind(**{name: _at(name, read, members[name]) for name, read in known.items()})

    return read


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MismatchError("not an object")
    return value


def _at(name: object, read: _Reader, value: Any) -> Any:
    try:
        return read(value)
    except MismatchError as error:
        raise error.below(name) from error

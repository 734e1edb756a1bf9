"""Typed log events: each is declared once, as a signature, and written by calling it.

A declaration's name is the event's, its first ``_`` a ``.``: ``clip_spooled`` writes
``clip.spooled``. mypy checks the fields where an event is written, and ``docs/events.md`` is
generated from the declarations by dockd.cli.events_page.
"""

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType, UnionType
from typing import (
    Any,
    Generic,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import structlog
from structlog.typing import FilteringBoundLogger

from dockd.base.errors import DockdError, UnforeseenError

P = ParamSpec("P")
Q = ParamSpec("Q")
D = TypeVar("D", bound="Declaration")
Level = Literal["debug", "info", "warning", "error"]
Traceback = tuple[type[BaseException], BaseException, TracebackType | None]

EVENTS: dict[str, "Declaration"] = {}
"""Every declared event by its name."""

_ERROR = {"exception": "str?", "error": "str", "detail": "str", "hint": "str"}


@dataclass(frozen=True, eq=False)
class Declaration:
    """An event's stable name, level, meaning and fields."""

    name: str
    level: Level
    meaning: str
    fields: Mapping[str, str]
    """Field name to type; a ``?`` marks one that may be absent or null."""

    def write(self, fields: Mapping[str, object]) -> None:
        """Write it; ``exception`` is an exception or a traceback, and written as text."""
        logger: FilteringBoundLogger = structlog.get_logger()
        named = {name: value for name, value in fields.items() if name != "exception"}
        logger.log(
            logging.getLevelNamesMapping()[self.level.upper()],
            self.name,
            **named,
            exc_info=fields.get("exception"),
        )


class Event(Declaration, Generic[P]):
    """Something that happened."""

    def __call__(self, *args: P.args, **fields: P.kwargs) -> None:  # noqa: ARG002
        """Write it."""
        self.write(fields)


class ErrorEvent(Declaration, Generic[P]):
    """An error: what happened, and what an operator can do."""

    def __call__(self, error: DockdError, /, *args: P.args, **fields: P.kwargs) -> None:  # noqa: ARG002
        """Write it, with the error's name, message and hint."""
        self.write(fields | explanation(error))


class Ending(Declaration, Generic[P]):
    """The end of an incident, written by dockd.base.incidents."""

    def __call__(self, *args: P.args, **fields: P.kwargs) -> "Ended":  # noqa: ARG002
        """Return the fields of an end that differ from the failure's."""
        return Ended(fields)


@dataclass(frozen=True, eq=False)
class Failure(Declaration, Generic[P]):
    """A failure that may last, written by dockd.base.incidents while it does."""

    ending: Ending[Any] | None
    """The event of its end; None: it ends silently."""
    shown: bool
    """Whether the status shows it while it lasts."""

    def __call__(self, *args: P.args, **fields: P.kwargs) -> "Failed":  # noqa: ARG002
        """Return one occurrence of it."""
        return Failed(self, fields)


@dataclass(frozen=True)
class Failed:
    """An occurrence of a failure, and its fields."""

    failure: Failure[Any]
    fields: Mapping[str, object]

    def write(self, error: DockdError, *, failures: int) -> None:
        """Write it, with the number of occurrences."""
        self.failure.write({**self.fields, "failures": failures, **explanation(error)})


@dataclass(frozen=True)
class Ended:
    """The fields of an incident's end."""

    fields: Mapping[str, object]


def event(meaning: str, *, level: Level = "info") -> Callable[[Callable[P, None]], Event[P]]:
    """Declare an event by the signature that follows."""

    def declare(signature: Callable[P, None]) -> Event[P]:
        return _known(Event(_name(signature), level, meaning, _fields(signature)))

    return declare


def error_event(
    meaning: str, *, level: Level = "error"
) -> Callable[[Callable[P, None]], ErrorEvent[P]]:
    """Declare the event of an error, by the fields beside the error's own."""

    def declare(signature: Callable[P, None]) -> ErrorEvent[P]:
        fields = _fields(signature, _ERROR)
        return _known(ErrorEvent(_name(signature), level, meaning, fields))

    return declare


def ending(meaning: str) -> Callable[[Callable[P, None]], Ending[P]]:
    """Declare the end of incidents, by those of their fields that it repeats."""

    def declare(signature: Callable[P, None]) -> Ending[P]:
        fields = _fields(signature, {"failures": "int", "seconds": "float"})
        return _known(Ending(_name(signature), "info", meaning, fields))

    return declare


def failure(
    meaning: str, *, level: Level = "error", ending: Ending[Q] | None = None, shown: bool = True
) -> Callable[[Callable[P, None]], Failure[P]]:
    """Declare a failure that may last, by the fields beside its error's own."""

    def declare(signature: Callable[P, None]) -> Failure[P]:
        fields = _fields(signature, {"failures": "int"} | _ERROR)
        return _known(Failure(_name(signature), level, meaning, fields, ending, shown))

    return declare


def explanation(error: DockdError) -> dict[str, object]:
    """Return the fields of an error; with a traceback for an internal error."""
    return {
        "error": error.event,
        "detail": error.message,
        "hint": error.hint,
        "exception": error.__cause__ if isinstance(error, UnforeseenError) else None,
    }


def _known(declaration: D) -> D:
    EVENTS[declaration.name] = declaration
    return declaration


def _name(signature: Callable[..., None]) -> str:
    return signature.__name__.replace("_", ".", 1)


def _fields(
    signature: Callable[..., None], more: Mapping[str, str] = MappingProxyType({})
) -> Mapping[str, str]:
    """Return the fields of a signature; those of a TypedDict that it unpacks come first."""
    hints = get_type_hints(signature)
    unpacked: dict[str, str] = {}
    named: dict[str, str] = {}
    for parameter in inspect.signature(signature).parameters.values():
        annotation = hints[parameter.name]
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            (members,) = get_args(annotation)
            unpacked = {name: _type(kind) for name, kind in get_type_hints(members).items()}
        else:
            named[parameter.name] = _type(annotation)
    return MappingProxyType({**unpacked, **named, **more})


def _type(annotation: Any) -> str:
    """Return how a type is written in the documentation."""
    if annotation == Traceback:
        return "str"
    if get_origin(annotation) in {Union, UnionType}:
        (one,) = (kind for kind in get_args(annotation) if kind is not type(None))
        return f"{_type(one)}?"
    if get_origin(annotation) is Sequence:
        return f"list[{_type(*get_args(annotation))}]"
    return str(annotation.__name__)

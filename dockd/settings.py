"""Configuration files: TOML read as types, every mistake reported at once.

A configuration is a tree of :class:`Section` models. This module loads one from a file,
says where in the file each mistake is, and writes the commented example of it.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from dockd.errors import ConfigError

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_IN_TOML = {
    "missing": "this key is missing",
    "model_type": "this has to be a table",
    "too_short": "this needs more items",
    "tuple_type": "this has to be an array",
}
"""What pydantic says in words of Python."""
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|TiB)")


class Section(BaseModel):
    """A table of a configuration file; keys that it doesn't know are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=False)


_SectionT = TypeVar("_SectionT", bound=Section)


def parse_size(value: object) -> int:
    """Return the bytes of a size: a whole number, or text such as ``"64 MiB"``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('a size is a number of bytes, or text such as "64 MiB" or "2 GiB"')
    return int(match[1]) * _UNITS[match[2]]


def format_size(size: int) -> str:
    """Return a size as the largest unit that divides it: 67108864 is ``64 MiB``."""
    unit = max(
        (u for u in _UNITS if size % _UNITS[u] == 0 and size >= _UNITS[u]),
        default="B",
        key=_UNITS.__getitem__,
    )
    return f"{size // _UNITS[unit]} {unit}"


Size = Annotated[int, BeforeValidator(parse_size), PlainSerializer(format_size)]
"""A number of bytes, written as a number or with a binary unit."""


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong in a configuration file."""

    line: int
    key: str
    problem: str
    hint: str

    def __str__(self) -> str:
        hint = f"\n      hint: {self.hint}" if self.hint else ""
        return f"line {self.line}: {self.key}: {self.problem}{hint}"


def load(path: Path, model: type[_SectionT], *, example: str) -> _SectionT:
    """Read a configuration file; ``example`` names the one that shows every key.

    Raises:
        ConfigError: it can't be read, isn't TOML, or has mistakes, all of them named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint=f"start from {example}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    try:
        return model.model_validate(document, context={"folder": path.absolute().parent})
    except ValidationError as error:
        listed = "".join(f"\n  {mistake}" for mistake in _mistakes(error, text, model))
        raise ConfigError(f"{path}{listed}", hint=f"{example} shows every key") from error


def secret_path(name: str, folder: Path) -> Path:
    """Return where a secret lies: a systemd credential by that name, else a file.

    A relative name is looked for in ``$CREDENTIALS_DIRECTORY`` first, then beside the
    configuration file.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and (Path(credentials) / name).is_file():
        return Path(credentials) / name
    return folder / name


def misplaced(mistakes: Sequence[tuple[tuple[int | str, ...], str]]) -> ValidationError:
    """Return what a validator raises for mistakes at places below its own value."""
    return ValidationError.from_exception_data(
        "mistakes",
        [
            {
                "type": PydanticCustomError("misplaced", "{problem}", {"problem": problem}),
                "loc": place,
                "input": None,
            }
            for place, problem in mistakes
        ],
    )


def _mistakes(error: ValidationError, text: str, model: type[Section]) -> list[Mistake]:
    found = []
    details = error.errors(include_url=False)
    for detail in details:
        place = detail["loc"]
        if detail["type"] == "too_short" and any(
            _is_below(place, other["loc"]) for other in details
        ):
            # Only the items that are right were counted.
            continue
        problem, hint = detail["msg"].removeprefix("Value error, "), ""
        if detail["type"] == "extra_forbidden":
            allowed = list(_allowed_keys(model, place[:-1]))
            close = difflib.get_close_matches(str(place[-1]), allowed, n=1)
            problem = f"there is no such key; allowed here: {', '.join(sorted(allowed))}"
            hint = f"did you mean {close[0]}?" if close else ""
        else:
            field = _field(model, place)
            problem = _IN_TOML.get(detail["type"], problem[0].lower() + problem[1:])
            hint = (field.description or "") if field else ""
        key = ".".join(str(part) for part in place) or "the file"
        found.append(Mistake(_line_of(text, place), key, problem, hint))
    return sorted(found, key=lambda mistake: mistake.line)


def _is_below(place: Sequence[int | str], other: Sequence[int | str]) -> bool:
    return len(other) > len(place) and other[: len(place)] == place


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


def _field(model: type[Section], place: Sequence[int | str]) -> FieldInfo | None:
    field: FieldInfo | None = None
    section: type[Section] | None = model
    for part in place:
        if section is not None and part in section.model_fields:
            field = section.model_fields[str(part)]
            section = next(_sections(field.annotation), None)
    return field


def _allowed_keys(model: type[Section], place: Sequence[int | str]) -> list[str]:
    field = _field(model, place)
    section = next(_sections(field.annotation), model) if field else model
    return list(section.model_fields)


def _line_of(text: str, place: Sequence[int | str]) -> int:
    """Return the line on which the deepest existing part of a key begins.

    tomllib keeps no positions, so the file is parsed up to each line in turn: the first
    prefix in which the key exists ends where the key's value does, and the value begins
    behind the last prefix that could be parsed without it.
    """
    lines = text.splitlines()
    for depth in range(len(place), 0, -1):
        begins = 1
        for number in range(1, len(lines) + 1):
            try:
                document = tomllib.loads("\n".join(lines[:number]))
            except tomllib.TOMLDecodeError:
                continue
            if _exists(document, place[:depth]):
                return begins
            begins = number + 1
    return 1


def _exists(document: Any, place: Sequence[int | str]) -> bool:
    for part in place:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def write_example(model: type[Section], heading: str) -> str:
    """Return a commented configuration file with every key and its default."""
    lines = [f"# {line}".rstrip() for line in heading.splitlines()]
    _write_section(model, (), lines.append, mark="")
    return "\n".join(lines) + "\n"


def _write_section(
    section: type[Section], path: tuple[str, ...], write: Callable[[str], None], *, mark: str
) -> None:
    tables: list[tuple[str, FieldInfo]] = []
    for name, field in section.model_fields.items():
        if next(_sections(field.annotation), None) is not None:
            tables.append((name, field))
            continue
        write("")
        write(f"# {field.description}")
        write(_assignment(name, field, mark))
    for name, field in tables:
        repeated = getattr(field.annotation, "__origin__", None) in {list, tuple}
        title = ".".join((*path, name))
        optional = not field.is_required() and (repeated or field.default is None)
        below = "# " if optional else mark
        write("")
        write(f"# {field.description}")
        write(f"{below}[[{title}]]" if repeated else f"{below}[{title}]")
        _write_section(next(_sections(field.annotation)), (*path, name), write, mark=below)


def _assignment(name: str, field: FieldInfo, mark: str) -> str:
    if field.examples:
        value, mark = field.examples[0], mark if field.is_required() else "# "
    else:
        value = field.get_default(call_default_factory=True)
        if format_size in {getattr(part, "func", None) for part in field.metadata}:
            value = format_size(value)
    return f"{mark}{name} = {_toml(value)}"


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str() | Path():
            return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list() | tuple():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case dict():
            return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
        case _:
            return str(value)

"""Configuration files: typed TOML, with all errors reported at once.

A configuration is a tree of :class:`Section` models. This module loads one from a file,
locates each error in the file, and generates the commented example.
"""

import difflib
import os
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from dockd.base import texts
from dockd.base.errors import ConfigError
from dockd.base.sizes import UNITS

_IN_TOML = {
    "missing": "required key is missing",
    "model_type": "must be a table",
    "too_short": "has too few items",
    "tuple_type": "must be an array",
}
"""TOML's terms for what pydantic calls by those of Python."""
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|TiB)")


class Section(BaseModel):
    """A table of a configuration file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=False)


_SectionT = TypeVar("_SectionT", bound=Section)


def parse_size(value: object) -> int:
    """Return the bytes of a size: a whole number, or text such as ``"64 MiB"``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('a size is a number of bytes, or text such as "64 MiB" or "2 GiB"')
    return int(match[1]) * UNITS[match[2]]


def format_size(size: int) -> str:
    """Return a size as the largest unit that divides it: 67108864 is ``64 MiB``."""
    unit = max(
        (u for u in UNITS if size % UNITS[u] == 0 and size >= UNITS[u]),
        default="B",
        key=UNITS.__getitem__,
    )
    return f"{size // UNITS[unit]} {unit}"


Size = Annotated[int, BeforeValidator(parse_size), PlainSerializer(format_size)]
"""A number of bytes, written as a number or with a binary unit."""


@dataclass(frozen=True)
class Mistake:
    """An error in a configuration file."""

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
        ConfigError: it can't be read, isn't TOML, or has errors, all of which are listed.
    """
    try:
        text = texts.decode(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint=f"start from {example}") from error
    except ValueError as error:
        raise ConfigError(f"{path} {error}") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint=_habit(text, error)) from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply") from error
    try:
        return model.model_validate(document, context={"folder": path.absolute().parent})
    except ValidationError as error:
        listed = "".join(f"\n  {mistake}" for mistake in _mistakes(error, text, model))
        raise ConfigError(f"{path}{listed}", hint=f"{example} shows every key") from error


def _habit(text: str, error: tomllib.TOMLDecodeError) -> str:
    """Return what a word processor may have done to the line that is not TOML."""
    place = re.search(r"at line (\d+)", str(error))
    lines = text.split("\n")
    stray = texts.stray_characters(lines[int(place[1]) - 1]) if place else ""
    return f"this line contains {stray}; use plain characters" if stray else ""


def secret_path(name: str, folder: Path) -> Path:
    """Return the path of a secret: a systemd credential of that name, else a file.

    A relative name is looked for in ``$CREDENTIALS_DIRECTORY`` first, then beside the
    configuration file.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and (Path(credentials) / name).is_file():
        return Path(credentials) / name
    return folder / name


def misplaced(mistakes: Sequence[tuple[tuple[int | str, ...], str]]) -> ValidationError:
    """Return the error a validator raises for errors below its own value."""
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
    lines = _lines(text)
    longer = {other["loc"][:size] for other in details for size in range(len(other["loc"]))}
    for detail in details:
        place = detail["loc"]
        if detail["type"] == "too_short" and place in longer:
            # Only valid items were counted.
            continue
        problem, hint = detail["msg"].removeprefix("Value error, "), ""
        if detail["type"] == "extra_forbidden":
            allowed = list(_allowed_keys(model, place[:-1]))
            close = difflib.get_close_matches(str(place[-1]), allowed, n=1)
            problem = f"unknown key; allowed here: {', '.join(sorted(allowed))}"
            hint = f"did you mean {close[0]}?" if close else ""
        else:
            field = _field(model, place)
            problem = _IN_TOML.get(detail["type"], problem[0].lower() + problem[1:])
            hint = (field.description or "") if field else ""
            if field is not None and next(_sections(field.annotation), None) is not None:
                hint = _brackets(detail["type"], key_of(place)) or hint
        found.append(Mistake(_line_of(lines, place), key_of(place), problem, hint))
    return sorted(found, key=lambda mistake: mistake.line)


def key_of(place: Sequence[int | str]) -> str:
    """Return a key's path as it is shown."""
    return ".".join(str(part) for part in place) or "the file"


def _brackets(mistake: str, key: str) -> str:
    """Return how to write a table that has one bracket too few or too many."""
    name = ".".join(part for part in key.split(".") if not part.isdigit())
    match mistake:
        case "tuple_type":
            return f"write [[{name}]], with double brackets: it can be repeated"
        case "model_type":
            return f"write [{name}], with single brackets: it occurs once"
    return ""


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


_Place = tuple[int | str, ...]
_NEXT = re.compile(r'"""|\'\'\'|["\'#\[\]{}\n]')
_ENDS = {
    '"""': re.compile(r'(?:\\.|(?!""")[^\\])*+"{3,5}', re.DOTALL),
    "'''": re.compile(r"(?:(?!''').)*+'{3,5}", re.DOTALL),
    '"': re.compile(r'(?:\\.|[^"\\\n])*+"'),
    "'": re.compile(r"[^'\n]*+'"),
    "#": re.compile(r"[^\n]*+"),
}
"""The end of a string or a comment, by its beginning."""


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each header and each assignment of a TOML file, and its first line."""
    begin, line, position, depth = 0, 1, 0, 0
    while token := _NEXT.search(text, position):
        position = token.end()
        if ends := _ENDS.get(token[0]):
            closed = ends.match(text, position)
            position = closed.end() if closed else len(text)
        elif token[0] != "\n":
            depth += 1 if token[0] in "[{" else -1
        elif depth == 0:
            yield line, text[begin:position]
            line += text.count("\n", begin, position)
            begin = position
    yield line, text[begin:]


def _lines(text: str) -> dict[_Place, int]:
    """Return the line of every key in a TOML file; tomllib keeps no positions.

    Each statement is parsed once, by itself, and entered below its table.
    """
    lines: dict[_Place, int] = {}
    tables: Counter[_Place] = Counter()
    table: _Place = ()
    for line, statement in _statements(text):
        document = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = ()
            for key, is_repeated in _header(document):
                table = (*table, key)
                lines.setdefault(table, line)
                tables[table] += is_repeated
                if tables[table]:
                    table = (*table, tables[table] - 1)
                    lines.setdefault(table, line)
        else:
            for place in _places(document):
                lines.setdefault((*table, *place), line)
    return lines


def _header(document: Any) -> Iterator[tuple[str, bool]]:
    """Yield the keys of a table's header, and whether it has double brackets."""
    while document:
        ((key, document),) = document.items()
        is_repeated = isinstance(document, list)
        document = document[0] if is_repeated else document
        yield key, is_repeated


def _places(value: object, place: _Place = ()) -> Iterator[_Place]:
    """Yield the places of a value and of everything in it."""
    yield place
    below: Iterable[tuple[int | str, object]] = ()
    match value:
        case dict():
            below = value.items()
        case list():
            below = enumerate(value)
    for key, one in below:
        yield from _places(one, (*place, key))


def _line_of(lines: Mapping[_Place, int], place: _Place) -> int:
    """Return the first line of the deepest existing part of a key."""
    parts = (place[:depth] for depth in range(len(place), 0, -1))
    return next((lines[part] for part in parts if part in lines), 1)


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

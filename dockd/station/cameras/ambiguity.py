"""Detects patterns that could split a path in two ways, so that a manifest might be wrong.

Two parses of one path are followed in parallel, character by character, through all that a
pattern allows. It is ambiguous if both can reach the end with a group that starts or ends at
different positions; the characters on the way there are an example.
"""

import string
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dockd.station.cameras.globs import NOT_SLASH, SLASH, Chars, Folders, Glob, Many, Mark, One

_MOST_STEPS = 300_000
"""The maximum number of steps of two parses; usual patterns take some thousands."""


@dataclass(frozen=True)
class Example:
    """A path that a pattern could split in two ways."""

    path: str
    taken: dict[str, str]
    """What the groups would match."""
    other: dict[str, str]
    """What they could match instead."""


@dataclass(frozen=True)
class _Step:
    """The next step of one parse: passes marks, then consumes a character."""

    marks: frozenset[Mark]
    chars: Chars | None
    """The character that it consumes; None at the end of the path."""
    after: int


_Place = tuple[int, int, bool, bool]
"""The positions of both parses, whether they differ, and whether a name must begin here."""


@dataclass(frozen=True)
class _Way:
    """How two parses reached a position."""

    before: _Place
    character: str
    marks: tuple[frozenset[Mark], frozenset[Mark]]


def find(glob: Glob) -> Example | None:
    """Return a path that a pattern could split in two ways; None if there is none.

    Raises:
        ValueError: the pattern is too complicated to check.
    """
    if not glob.names:
        return None
    steps = _steps(glob)
    alphabet = _Alphabet(glob)
    begin: _Place = (0, 0, False, True)
    ways: dict[_Place, _Way | None] = {begin: None}
    queue = deque([(begin, 0)])
    taken = 0
    while queue:
        place, length = queue.popleft()
        one, other, differ, begins = place
        for first in steps[one]:
            for second in steps[other]:
                if (taken := taken + 1) > _MOST_STEPS:
                    raise ValueError("this pattern is too complicated; use fewer * and groups")
                differs = differ or first.marks != second.marks
                if first.chars is None or second.chars is None:
                    ends = first.chars is second.chars and differs and not begins
                    if ends and (found := _example(glob, ways, place, (first.marks, second.marks))):
                        return found
                    continue
                character = alphabet.choose(first.chars, second.chars, length, no_slash=begins)
                if not character:
                    continue
                after = (first.after, second.after, differs, character == "/")
                if after not in ways:
                    ways[after] = _Way(place, character, (first.marks, second.marks))
                    queue.append((after, length + 1))
    return None


def explain(glob: Glob, example: Example) -> str:
    """Return a description of the ambiguity, and how to avoid it."""
    names = [name for name in glob.names if example.taken.get(name) != example.other.get(name)]
    taken, other = (
        " and ".join(f"{name} {groups.get(name, '')!r}" for name in names)
        for groups in (example.taken, example.other)
    )
    ends = glob.elements.index(Mark(names[0], ends=True))
    after = glob.elements[ends + 1] if ends + 1 < len(glob.elements) else None
    without = after.chars.named[0] if isinstance(after, One) and after.chars.is_literal else "_"
    return (
        f"it is ambiguous: {example.path!r} would make {taken}, though it could be {other};"
        f" write {{{names[0]}!{without}}} for a name without {without}"
    )


def _steps(glob: Glob) -> list[list[_Step]]:
    """Return the possible steps before each element, and within a folder's name.

    Place ``2 * i`` is before element i, ``2 * i + 1`` within a folder of that element.
    """
    constant = _constant(glob)
    steps: list[list[_Step]] = []
    for index in range(len(glob.elements)):
        steps.append(list(_from(glob, index, constant)))
        folder = [_Step(frozenset(), NOT_SLASH, 2 * index + 1)]
        folder.append(_Step(frozenset(), SLASH, 2 * index))
        steps.append(folder)
    return [*steps, [_Step(frozenset(), None, 0)]]


def _constant(glob: Glob) -> set[str]:
    """Return the groups that match a single text: it is the same wherever it is found."""
    varying: set[str] = set()
    inside: str | None = None
    for element in glob.elements:
        if isinstance(element, Mark):
            inside = None if element.ends else element.name
        elif inside is not None and not (isinstance(element, One) and element.chars.is_literal):
            varying.add(inside)
    return set(glob.names) - varying


def _from(glob: Glob, index: int, constant: set[str]) -> Iterator[_Step]:
    marks: frozenset[Mark] = frozenset()
    for place, element in enumerate(glob.elements[index:], start=index):
        match element:
            case One(chars):
                yield _Step(marks, chars, 2 * place + 2)
                return
            case Many(chars):
                yield _Step(marks, chars, 2 * place)
            case Folders():
                yield _Step(marks, NOT_SLASH, 2 * place + 1)
            case Mark(name):
                marks |= {element} if name not in constant else frozenset()
    yield _Step(marks, None, 0)


class _Alphabet:
    """Characters for examples: common ones, and those in the pattern."""

    def __init__(self, glob: Glob) -> None:
        sets = [e.chars for e in glob.elements if isinstance(e, One | Many)]
        named = "".join(sorted({character for chars in sets for character in chars.named}))
        common = string.ascii_uppercase + string.digits + string.ascii_lowercase
        self._known = common + "-_.,~ " + named
        self._held: dict[tuple[int, int], list[str]] = {}

    def choose(self, one: Chars, other: Chars, position: int, *, no_slash: bool) -> str:
        """Return a character of both sets, varying by position if there are several."""
        key = (id(one), id(other))
        if key not in self._held:
            literals = [chars.named[0] for chars in (one, other) if chars.is_literal]
            held = [c for c in literals or self._known if one.holds(c) and other.holds(c)]
            self._held[key] = [c for c in held if c != "/"] or held
        held = self._held[key]
        character = held[position % len(held)] if held else ""
        return "" if no_slash and character == "/" else character


def _example(
    glob: Glob,
    ways: dict[_Place, _Way | None],
    place: _Place,
    marks: tuple[frozenset[Mark], frozenset[Mark]],
) -> Example | None:
    path, passed = "", [marks]
    while (way := ways[place]) is not None:
        path, place = way.character + path, way.before
        passed.insert(0, way.marks)
    taken = glob.match(path) or {}
    readings = [_groups(path, [both[which] for both in passed]) for which in (0, 1)]
    return next((Example(path, taken, other) for other in readings if other != taken), None)


def _groups(path: str, passed: Sequence[frozenset[Mark]]) -> dict[str, str]:
    begins: dict[str, int] = {}
    found: dict[str, str] = {}
    for place, marks in enumerate(passed):
        begins |= {mark.name: place for mark in marks if not mark.ends}
        found |= {mark.name: path[begins[mark.name] : place] for mark in marks if mark.ends}
    return found

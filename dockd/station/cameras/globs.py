"""Globs over a camera's paths, with named groups, matched in time linear in the path's length.

``*`` and ``?`` stay within one folder, ``**/`` is any number of folders, ``[abc]`` a set,
``[!abc]`` its complement. ``{name}`` is a non-empty ``*`` whose match is kept under that
name, ``{name!_-}`` the same without these characters, ``{name:glob}`` the same for another
glob. A leading slash is optional: patterns start at the camera's root.

No file name can make it slow, as with a backtracking regular expression: for each element of
a pattern, from the last to the first, all positions of a path from which the rest of the
pattern matches are computed together, as the bits of one number. Bit ``n - p`` is the
position before character ``p`` of ``n``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_LENGTH = 500
"""Maximum characters of a pattern."""

_TOKEN = re.compile(
    r"(?P<folders>\*\*/)|(?P<rest>\*\*)|(?P<star>\*)|(?P<one>\?)"
    r"|(?P<set>\[(?P<negated>!?)(?P<members>[^\]/]+)\])"
    r"|\{(?P<name>[a-z][a-z0-9_]*)(?:!(?P<without>[^{}]+)|:(?P<glob>[^{}]+))?\}",
    re.DOTALL,
)
_MEMBER = re.compile(r"(.)-(.)|.", re.DOTALL)


class Chars(dict[int, str]):
    """A set of characters, as a table for ``str.translate``: 1 for its members, 0 for others.

    Only :data:`SLASH` and :data:`ANY` contain the slash.
    """

    def __init__(
        self, *ranges: tuple[str, str], negated: bool = False, ignore_case: bool = False
    ) -> None:
        super().__init__()
        self._ranges = ranges
        self._negated = negated
        self._ignore_case = ignore_case

    def __missing__(self, code: int) -> str:
        bit = "1" if self.holds(chr(code)) else "0"
        if len(self) < _REMEMBERED:
            self[code] = bit
        return bit

    @property
    def named(self) -> str:
        """The characters in its definition."""
        return "".join(character for ends in self._ranges for character in ends)

    @property
    def is_literal(self) -> bool:
        """Whether it has one character, apart from its case."""
        return not self._negated and len(set(self.named)) == 1

    def holds(self, character: str) -> bool:
        """Return whether a character is in the set."""
        forms = {character}
        if self._ignore_case:
            forms |= {form for form in (character.lower(), character.upper()) if len(form) == 1}
        listed = any(first <= form <= last for form in forms for first, last in self._ranges)
        return listed is not self._negated

    def bits(self, text: str) -> int:
        """Return the characters of a text that are in the set: bit ``n - 1 - p`` is character p."""
        return int(text.translate(self) or "0", 2)


_REMEMBERED = 1000
"""The number of characters for which a set caches the result."""

SLASH = Chars(("/", "/"))
NOT_SLASH = Chars(("/", "/"), negated=True)
ANY = Chars(negated=True)


@dataclass(frozen=True)
class One:
    """One character."""

    chars: Chars


@dataclass(frozen=True)
class Many:
    """Any number of characters."""

    chars: Chars


@dataclass(frozen=True)
class Folders:
    """Any number of folders, each with its slash."""


@dataclass(frozen=True)
class Mark:
    """The beginning or the end of a named group."""

    name: str
    ends: bool = False


Element = One | Many | Folders | Mark
_Masks = dict[int, int]
"""Which characters of a path each set of a pattern contains, by the set's id."""


@dataclass(frozen=True)
class Glob:
    """A compiled pattern."""

    elements: tuple[Element, ...]
    names: tuple[str, ...]
    """The names of its groups, in their order."""

    def match(self, path: str) -> dict[str, str] | None:
        """Return what each named group matched, if the pattern matches the whole path.

        If a path could be split in several ways, the earlier group matches more.
        """
        masks: _Masks = {}
        rests = [1]
        for element in reversed(self.elements):
            if (places := _before(element, rests[-1], path, masks)) == 0:
                return None
            rests.append(places)
        rests.reverse()
        if not rests[0] >> len(path):
            return None
        return self._split(path, rests, masks) if self.names else {}

    def _split(self, path: str, rests: list[int], masks: _Masks) -> dict[str, str]:
        place, begins, found = len(path), {}, {}
        for element, rest in zip(self.elements, rests[1:], strict=True):
            match element:
                case One():
                    place -= 1
                case Many(chars):
                    other = ~masks[id(chars)] & ((1 << place) - 1)
                    place = _lowest(rest & -(1 << other.bit_length()))
                case Folders():
                    after_slash = masks[id(SLASH)] & rest & ((1 << place) - 1)
                    # A folder has a name, so a slash here does not belong to it.
                    begins_folder = place > 0 and path[len(path) - place] != "/"
                    place = _lowest(after_slash) if after_slash and begins_folder else place
                case Mark(name, ends=False):
                    begins[name] = len(path) - place
                case Mark(name):
                    found[name] = path[begins[name] : len(path) - place]
        return found


def _lowest(places: int) -> int:
    return (places & -places).bit_length() - 1


def _before(element: Element, rest: int, path: str, masks: _Masks) -> int:
    """Return the positions from which an element leads to one of the positions ``rest``."""
    match element:
        case One(chars):
            return (rest & _mask(chars, path, masks)) << 1
        case Many(chars):
            # Adding a position to the run of characters before it carries through that run.
            mask = _mask(chars, path, masks)
            return rest | ((mask + (rest & mask)) ^ mask)
        case Folders():
            after_slash = rest & _mask(SLASH, path, masks)
            if not after_slash:
                return rest
            named = _mask(NOT_SLASH, path, masks) << 1
            return rest | (named & -(2 << _lowest(after_slash)))
        case Mark():
            return rest


def _mask(chars: Chars, path: str, masks: _Masks) -> int:
    if (mask := masks.get(id(chars))) is None:
        mask = masks[id(chars)] = chars.bits(path)
    return mask


def parse(pattern: str, *, ignore_case: bool = False) -> Glob:
    """Compile a pattern.

    Raises:
        ValueError: it is malformed, or matches no path.
    """
    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"a pattern has at most {MAX_LENGTH} characters")
    below = pattern.removeprefix("/")
    elements = tuple(_Parser(ignore_case=ignore_case).elements(below))
    names = tuple(
        element.name for element in elements if isinstance(element, Mark) and element.ends
    )
    if len(set(names)) < len(names):
        raise ValueError(f"{pattern!r} is not a pattern: it has two groups of the same name")
    if not {"", ".", ".."}.isdisjoint(re.sub(r"\{[^{}]*\}", "{}", below).split("/")):
        raise ValueError(
            f"{pattern!r} matches no file: write the path below the camera's root,"
            " such as DCIM/*.mp4, without empty parts, . and .."
        )
    return Glob(elements, names)


class _Parser:
    def __init__(self, *, ignore_case: bool) -> None:
        self._ignore_case = ignore_case
        self._literals: dict[str, Chars] = {}

    def elements(self, pattern: str) -> Iterator[Element]:
        position = 0
        while position < len(pattern):
            token = _TOKEN.match(pattern, position)
            if token is not None:
                position = token.end()
                yield from self._of_token(token)
                continue
            if pattern[position] in "{}":
                raise ValueError(
                    f"{pattern!r} has a brace without a group's name;"
                    " write {name}, {name:glob} or {name!characters}"
                )
            yield One(self._literal(pattern[position]))
            position += 1

    def _literal(self, character: str) -> Chars:
        if character == "/":
            return SLASH
        if character not in self._literals:
            self._literals[character] = self._chars((character, character))
        return self._literals[character]

    def _chars(self, *ranges: tuple[str, str], negated: bool = False) -> Chars:
        return Chars(*ranges, negated=negated, ignore_case=self._ignore_case)

    def _of_token(self, token: re.Match[str]) -> Iterator[Element]:
        match token.lastgroup:
            case "folders":
                yield Folders()
            case "rest":
                yield Many(ANY)
            case "star":
                yield Many(NOT_SLASH)
            case "one":
                yield One(NOT_SLASH)
            case "set":
                yield One(self._set(token["members"], negated=bool(token["negated"])))
            case _:
                yield Mark(token["name"])
                if token["glob"]:
                    yield from self.elements(token["glob"])
                else:
                    without = ((one, one) for one in "/" + (token["without"] or ""))
                    chars = self._chars(*without, negated=True)
                    yield from (One(chars), Many(chars))
                yield Mark(token["name"], ends=True)

    def _set(self, members: str, *, negated: bool) -> Chars:
        ranges = [(m[1], m[2]) if m[1] else (m[0], m[0]) for m in _MEMBER.finditer(members)]
        for first, last in ranges:
            if first > last:
                raise ValueError(f"[{members}] is not a pattern: {first}-{last} goes backwards")
        if negated:
            return self._chars(*ranges, ("/", "/"), negated=True)
        return self._chars(*(part for one in ranges for part in _without_slash(*one)))


def _without_slash(first: str, last: str) -> Iterator[tuple[str, str]]:
    """Yield a range without the slash, which e.g. +-9 contains."""
    if not first <= "/" <= last:
        yield first, last
        return
    if first < "/":
        yield first, "."
    if last > "/":
        yield "0", last

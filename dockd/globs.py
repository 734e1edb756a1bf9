"""Globs over a camera's paths, with named groups.

``*`` and ``?`` stay within one folder, ``**/`` is any folders or none, ``[abc]`` a set,
``[!abc]`` its opposite. ``{name}`` is a ``*`` that is not empty, whose match is kept under
that name, ``{name:glob}`` the same for another glob.
"""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"(?P<folders>\*\*/)|(?P<rest>\*\*)|(?P<star>\*)|(?P<one>\?)"
    r"|(?P<set>\[(?P<negated>!?)(?P<members>[^\]/]+)\])"
    r"|\{(?P<name>[a-z][a-z0-9_]*)(?::(?P<glob>[^{}]+))?\}"
)
_MEMBER = re.compile(r"(.)-(.)|.", re.DOTALL)


def translate(glob: str) -> str:
    """Return the regular expression of a pattern.

    Raises:
        ValueError: the pattern is malformed.
    """
    try:
        expression = "".join(_pieces(glob))
        re.compile(expression)
    except re.error as error:
        raise ValueError(f"{glob!r} is not a pattern: {error}") from error
    return expression


def _pieces(glob: str) -> Iterator[str]:
    position = 0
    while position < len(glob):
        token = _TOKEN.match(glob, position)
        if token is None:
            if glob[position] in "{}":
                raise ValueError(f"{glob!r} has a brace that names no group; write {{name:glob}}")
            yield re.escape(glob[position])
            position += 1
            continue
        position = token.end()
        yield _expression(token)


def _expression(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "folders":
            return "(?:[^/]+/)*"
        case "rest":
            return ".*"
        case "star":
            return "[^/]*"
        case "one":
            return "[^/]"
        case "set":
            members = "".join(map(_member, _MEMBER.finditer(token["members"])))
            # A range such as [+-9] and an opposite would take a slash in.
            return f"(?!/)[{'^' if token['negated'] else ''}{members}]"
        case _:
            inner = "".join(_pieces(token["glob"])) if token["glob"] else "[^/]+"
            return f"(?P<{token['name']}>{inner})"


def _member(member: re.Match[str]) -> str:
    first, last = member.groups()
    return f"{re.escape(first)}-{re.escape(last)}" if first else re.escape(member[0])

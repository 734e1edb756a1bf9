"""Cuts texts of unlimited length to the room they have in a signed statement."""

import json
from collections.abc import Mapping

from dockd.station.model import shorten

_LEAST = 16
"""Bytes of room a value at which values are dropped rather than cut further."""


def json_size(value: object) -> int:
    """Return the bytes that a value takes in a signed statement."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def fit(text: str, room: int) -> str:
    """Return a text cut so that it takes at most ``room`` bytes of JSON."""
    limit = len(text)
    while json_size(text) > room and limit > 1:
        # An escaped character takes up to six bytes.
        limit = min(limit - 1, max(limit * room // json_size(text), 1))
        text = shorten(text, limit)
    return text


def fit_all(values: Mapping[str, str], room: int) -> dict[str, str]:
    """Return named texts cut so that together they take at most ``room`` bytes of JSON.

    The longest are cut first; where there are too many of them, the last are left out.
    """
    kept = dict(values)
    share = room
    while json_size(kept) > room and share > _LEAST:
        share = share * 3 // 4
        kept = {name: fit(text, share) for name, text in values.items()}
    while json_size(kept) > room:
        kept.popitem()
    return kept

"""Texts that others make as long as they like, cut to their room in a signed statement."""

import json
from collections.abc import Mapping

from dockd.station.model import shorten

_LEAST = 16
"""Characters that are kept of a value, however many there are."""


def json_size(value: object) -> int:
    """Return how many bytes a value takes up in a signed statement."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def fit(text: str, room: int) -> str:
    """Return a text that takes up so many bytes of JSON at most."""
    limit = len(text)
    while json_size(text) > room and limit > 1:
        # What is escaped takes up to six bytes a character.
        limit = min(limit - 1, max(limit * room // json_size(text), 1))
        text = shorten(text, limit)
    return text


def fit_all(values: Mapping[str, str], room: int) -> dict[str, str]:
    """Return named texts that take up so many bytes of JSON together at most.

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

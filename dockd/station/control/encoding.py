"""Views as JSON: the server's side."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from dockd.station.control.views import View


def encode(view: View) -> bytes:
    """Return a view as one line of JSON."""
    kind: Any = type(view)
    return _adapter(kind).dump_json(view)


def encode_all(views: Iterable[View]) -> bytes:
    """Return several views as a JSON array."""
    return b"[" + b",".join(map(encode, views)) + b"]"


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)

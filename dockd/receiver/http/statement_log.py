"""The statement log as static resources, after C2SP ``tlog-tiles``, below ``/log``."""

import re

from starlette.requests import Request
from starlette.responses import Response

from dockd.base.errors import StatementLogError
from dockd.evidence.log.tiles import Tile, bundle_of, narrowed, tile_of
from dockd.receiver.core.statement_log import StatementLog
from dockd.receiver.http import problems
from dockd.receiver.http.access import Access
from dockd.receiver.http.problems import RequestError

_PATH = re.compile(
    r"(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)
_NEVER_CHANGES = "public, max-age=31536000, immutable"


class LogResources:
    """``/log/checkpoint`` and ``/log/tile/…``."""

    def __init__(self, log: StatementLog, access: Access, *, public: bool) -> None:
        self._log = log
        self._access = access
        self._public = public

    async def checkpoint(self, request: Request) -> Response:
        """Return the newest checkpoint."""
        self._admit(request)
        headers = {"Cache-Control": "no-store"}
        return Response(self._log.checkpoint, media_type="text/plain", headers=headers)

    async def tile(self, request: Request) -> Response:
        """Return a tile or a bundle of entries that a published checkpoint speaks of."""
        self._admit(request)
        whole, width = _tile(request.path_params["path"], self._log.size)
        data = narrowed(whole, await self._log.fetch(whole), width)
        headers = {"Cache-Control": _NEVER_CHANGES}
        return Response(data, media_type="application/octet-stream", headers=headers)

    def _admit(self, request: Request) -> None:
        if not self._public:
            caller = self._access.caller(request.headers.get("authorization"))
            request.state.station = caller.name


def _tile(path: str, size: int) -> tuple[Tile, int]:
    """Return the tile of a path as the log of a size has it, and how much of it is wanted.

    Raises:
        RequestError: it has none.
    """
    if not (match := _PATH.fullmatch(path)):
        raise RequestError(problems.NOT_FOUND, f"{path} is no tile of a log")
    level, groups, width = match.groups()
    index = int(groups.replace("x", "").replace("/", ""))
    try:
        whole = bundle_of(index, size) if level == "entries" else tile_of(int(level), index, size)
    except StatementLogError as error:
        raise RequestError(problems.NOT_FOUND, error.detail) from error
    tile = Tile(whole.level, index, int(width or 256))
    if tile.width > whole.width or tile.path != f"tile/{path}":
        raise RequestError(problems.NOT_FOUND, f"{path} is no tile of a log of {size} entries")
    return whole, tile.width

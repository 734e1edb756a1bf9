"""Health checks for supervisors and load balancers: liveness and readiness."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def routes(unready: Callable[[], str | None]) -> list[Route]:
    """Return ``/healthz``, which answers while the process does, and ``/readyz``.

    Args:
        unready: says why the work has not begun; None once it has.
    """

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(_request: Request) -> Response:
        reason = unready()
        if reason is None:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "starting", "reason": reason}, 503)

    return [Route("/healthz", health), Route("/readyz", ready)]

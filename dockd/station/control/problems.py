"""Error responses of the control API."""

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from dockd.base.errors import DockdError, UnforeseenError
from dockd.station.control.encoding import encode
from dockd.station.control.views import Problem


class ApiError(Exception):
    """A refused request, and why."""

    def __init__(self, status: int, error: str, detail: str, *, hint: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.problem = Problem(error=error, detail=detail, hint=hint)


def unknown(what: str, *, hint: str) -> ApiError:
    """Return the error for something that does not exist."""
    return ApiError(404, "unknown", what, hint=hint)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _json(error.problem, error.status)


async def _failed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, DockdError)
    return _answer(error, 503)


async def _unforeseen(_request: Request, _error: Exception) -> Response:
    # What it was, is in the log: it may name what is not for everybody who asks.
    hint = "report it with the daemon's log (library.complained)"
    return _answer(UnforeseenError(hint=hint), 500)


async def _left(_request: Request, _error: Exception) -> Response:
    # Whoever began to ask, and left, gets no answer: nothing was ordered.
    return Response(status_code=400)


def _answer(error: DockdError, code: int) -> Response:
    problem = Problem(error=error.event, detail=error.message, hint=error.hint)
    return _json(problem, code)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    problem = Problem(
        error="method-not-allowed" if error.status_code == 405 else "unknown",
        detail=f"there is no {request.method} {request.scope['path']}",
        hint="see openapi.json on the control socket",
    )
    return _json(problem, error.status_code, error.headers)


def _json(problem: Problem, code: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(encode(problem), code, headers, "application/json")


HANDLERS: dict[int | type[Exception], ExceptionHandler] = {
    ApiError: _refused,
    DockdError: _failed,
    ClientDisconnect: _left,
    HTTPException: _not_routed,
    Exception: _unforeseen,
}
"""What a Starlette application does with exceptions."""

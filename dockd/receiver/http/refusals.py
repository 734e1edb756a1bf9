"""Logs what the receiver refuses, to whom, and why, at growing intervals."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from dockd.base.clock import Clock
from dockd.base.errors import ClocksDifferError, HistoryForkedError, RequestRefusedError
from dockd.base.incidents import Incidents
from dockd.base.web import network
from dockd.receiver import events
from dockd.receiver.core.errors import RefusedError
from dockd.receiver.http import problems
from dockd.receiver.http.problems import RequestError
from dockd.receiver.http.translating import translated

_LOGGED = {
    problems.MANIFEST_REFUSED,
    problems.TOKEN_REFUSED,
    problems.NOT_ENROLLED,
    problems.OTHER_STATION,
    problems.HISTORY_FORKED,
    problems.TOO_LARGE,
    problems.NOT_SEALED,
    problems.TOO_MANY_REQUESTS,
    problems.TOO_MANY_UPLOADS,
    problems.CLOCKS_DIFFER,
    problems.STORE_FULL,
    problems.SHARE_FULL,
}
"""What may need operator action; the rest is normal protocol."""
Serve = Callable[[Request], Awaitable[Response]]
_QUIET_SECONDS = 60.0
"""How long a refusal must be absent before an accepted request ends it."""
_MOST_FORWARDED = 200
_MOST = 1000
"""Pairs of a refusal and its client that are remembered at once."""


class Refusals:
    """Logs each kind of refusal for each client once, and again while it continues."""

    def __init__(self, clock: Clock, incidents: Incidents) -> None:
        self._incidents = incidents.scope("refusals")
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()
        """When each was refused last, oldest first."""

    def logged(self, serve: Serve) -> Serve:
        """Return a resource whose refusals are translated and logged, and their end."""

        async def served(request: Request) -> Response:
            try:
                response = await serve(request)
            except (RefusedError, ClocksDifferError, HistoryForkedError) as error:
                refusal = translated(error)
                self._log(request, refusal)
                raise refusal from error
            except RequestError as refusal:
                self._log(request, refusal)
                raise
            if request.method in {"POST", "PUT"}:
                self._taken(getattr(request.state, "station", ""))
            return response

        return served

    def _taken(self, station: str) -> None:
        """Note an accepted request of a station; recent refusals may come again."""
        now = self._clock.monotonic()
        for key in [key for key in self._known if station and key[1] == station]:
            if now - self._known[key] >= _QUIET_SECONDS:
                del self._known[key]
                self._incidents.within(*key).recovered(events.receiver_refused)

    def _log(self, request: Request, refusal: RequestError) -> None:
        """Note a refusal, and log it when due."""
        if refusal.problem not in _LOGGED:
            return
        address = request.client.host if request.client else ""
        station: str = getattr(request.state, "station", "")
        key = refusal.problem.code, station or network(address)
        self._known[key] = self._clock.monotonic()
        self._known.move_to_end(key)
        if len(self._known) > _MOST:
            self._incidents.within(*self._known.popitem(last=False)[0]).close()
        refused = events.receiver_refused(
            code=refusal.problem.code,
            status=refusal.problem.status,
            station=station,
            address=address,
            forwarded=_forwarded(request),
        )
        error = RequestRefusedError(f"{refusal.problem.title}: {refusal.detail}", hint=refusal.hint)
        self._incidents.within(*key).failed(refused, error)


def _forwarded(request: Request) -> str:
    """Return whom a request claims to come from, by a proxy or itself; this is unverified."""
    headers = request.headers
    said = headers.get("forwarded") or headers.get("x-forwarded-for") or ""
    return said[:_MOST_FORWARDED]

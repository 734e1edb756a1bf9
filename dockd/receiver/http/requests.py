"""How many requests with a body one station may have; docs/protocol.md has the table of limits."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from dockd.receiver.http import problems
from dockd.receiver.http.problems import RequestError


class Requests:
    """Counts the running requests with a body of each station."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way = Counter[str]()

    @contextlib.contextmanager
    def one(self, station: str) -> Iterator[None]:
        """Count a request for as long as the context lasts.

        Raises:
            RequestError: the station has too many.
        """
        if self._under_way[station] >= self._most:
            raise RequestError(
                problems.TOO_MANY_REQUESTS,
                f"{station} has {self._most} requests under way",
                hint="lower target.concurrency at the station, or check what else uses its token",
                headers={"Retry-After": "5"},
            )
        self._under_way[station] += 1
        try:
            yield
        finally:
            self._under_way[station] -= 1
            if not self._under_way[station]:
                del self._under_way[station]

"""A client of the daemon's control socket, with the standard library alone.

Commands wait for their imports: an HTTP library takes longer to import than the daemon takes
to answer.
"""

import json
import socket
import tomllib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlencode

from dockd.base import texts
from dockd.base.errors import (
    ConfigError,
    ControlDeniedError,
    ControlError,
    ControlVersionError,
    DaemonDownError,
    OrderHeldError,
    OrderRefusedError,
)
from dockd.station.control import event_stream, http1
from dockd.station.control.decoding import MismatchError, decode
from dockd.station.control.views import (
    CLIPS_AT_ONCE,
    ClipStory,
    ClipView,
    PauseView,
    Problem,
    ResyncAnswer,
    Status,
)
from dockd.station.lifecycle import StateName

DEFAULT_SOCKET = Path("/run/dockd/control.sock")
_ANSWER_SECONDS = 30.0
_SILENCE_SECONDS = 25.0
"""How long events may be silent: the daemon sends a comment every ten seconds."""
_OK, _SERVER_ERROR, _UNAVAILABLE = 200, 500, 503
_RESTART = "is the daemon older or newer than this command? systemctl restart dockd"
_CROWDED = (
    "it is shutting down, or its connection limit is reached: end a dockd watch, or try again"
    " in a moment"
)

_AnswerT = TypeVar("_AnswerT")
What = Literal["uploads", "wipes"]


def socket_path(config: Path, *, is_required: bool) -> Path:
    """Return the control socket that a configuration names.

    The rest of the file may have mistakes: the command may be there to find them.

    Args:
        config: the configuration file.
        is_required: if not, an unreadable file counts as one that names no socket, since not
            everybody who may use the socket may read the file.

    Raises:
        ConfigError: the file is required, and unreadable.
    """
    try:
        document = tomllib.loads(texts.decode(config.read_bytes()))
    except (OSError, ValueError) as error:
        if is_required:
            detail = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(f"{config}: {detail}", hint="or name the socket: --socket") from error
        document = {}
    match document:
        case {"control": {"socket": str(path)}} if path:
            return config.absolute().parent / path
    return DEFAULT_SOCKET


class Client:
    """Asks the daemon of this machine; every method may raise a ControlError."""

    def __init__(self, path: Path) -> None:
        self._socket = path

    def status(self) -> Status:
        """Return the status of the station."""
        return self._ask("GET", "status", Status)

    def events(self) -> Generator[Status, None, None]:
        """Yield the status of the station, now and on every change, until the daemon ends."""
        with self._answer("GET", "events", seconds=_SILENCE_SECONDS) as answer:
            for message in event_stream.parse(answer.pieces()):
                if message.event == "status":
                    yield _read(Status, message.data)

    def clips(
        self,
        *,
        camera: str | None = None,
        state: StateName | None = None,
        since: str | None = None,
        limit: int = CLIPS_AT_ONCE,
    ) -> list[ClipView]:
        """Return clips, the newest first, in as many requests as that takes."""
        found: list[ClipView] = []
        query: dict[str, object] = {"camera": camera, "state": state, "since": since}
        while len(found) < limit:
            query["limit"] = asked = min(limit - len(found), CLIPS_AT_ONCE)
            given = {name: value for name, value in query.items() if value is not None}
            page = self._ask("GET", f"clips?{urlencode(given)}", list[ClipView])
            found += page
            if len(page) < asked:
                break
            query["before"] = page[-1].id
        return found

    def story(self, clip: str) -> ClipStory:
        """Return all that is known of a clip, by its number or its clip id."""
        return self._ask("GET", f"clips/{quote(clip, safe='')}", ClipStory)

    def resync(
        self,
        *,
        camera: str | None = None,
        clip: int | None = None,
        failed: bool = False,
        reupload: bool = False,
    ) -> ResyncAnswer:
        """Order a resync."""
        order = {"camera": camera, "clip": clip, "failed": failed, "reupload": reupload}
        return self._ask("POST", "resync", ResyncAnswer, order)

    def pause(
        self, what: Sequence[What], *, reason: str, until: str | None = None
    ) -> list[PauseView]:
        """Pause uploads or wipes; returns what is paused now."""
        order = {"what": what, "reason": reason, "until": until}
        return self._ask("POST", "pause", list[PauseView], order)

    def resume(self, what: Sequence[What]) -> list[PauseView]:
        """Resume uploads or wipes; returns what is still paused."""
        return self._ask("POST", "resume", list[PauseView], {"what": what})

    def _ask(
        self,
        method: str,
        path: str,
        kind: type[_AnswerT],
        order: Mapping[str, Any] | None = None,
    ) -> _AnswerT:
        with self._answer(method, path, order) as answer:
            content = answer.read()
        return _read(kind, content)

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        order: Mapping[str, Any] | None = None,
        *,
        seconds: float | None = None,
    ) -> Iterator[http1.Response]:
        """Send a request over a connection of its own; give the answer, if it is a success."""
        body = b"" if order is None else json.dumps(order).encode()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_SECONDS if seconds is None else seconds)
            self._connect(connection)
            try:
                http1.send(connection, method, f"/v1/{path}", body)
                with connection.makefile("rb") as stream:
                    answer = http1.Response(stream)
                    if answer.status != _OK:
                        raise self._refusal(method, path, answer.status, answer.read())
                    yield answer
            except TimeoutError as error:
                raise self._down(str(error)) from error
            except (OSError, http1.BrokenAnswerError) as error:
                # It is there, and ended what had begun.
                raise DaemonDownError(f"{self._socket}: {error}", hint=_CROWDED) from error

    def _connect(self, connection: socket.socket) -> None:
        try:
            connection.connect(str(self._socket))
        except PermissionError as error:
            raise ControlDeniedError(
                str(self._socket),
                hint="join the group dockd (adduser USER dockd, then log in again)",
            ) from error
        except OSError as error:
            raise self._down(error.strerror or str(error)) from error

    def _down(self, detail: str) -> DaemonDownError:
        return DaemonDownError(
            f"{self._socket}: {detail}", hint="is it running? systemctl status dockd"
        )

    def _refusal(self, method: str, path: str, status: int, content: bytes) -> ControlError:
        try:
            problem = decode(Problem, content)
        except MismatchError:
            if status == _UNAVAILABLE:
                # The server's own words, before it looks at a request.
                return DaemonDownError(str(self._socket), hint=_CROWDED)
            said = f"{self._socket} answers {status} to /v1/{path.partition('?')[0]}"
            return ControlVersionError(said, hint=_RESTART)
        if problem.error == "busy" and method == "POST":
            return OrderHeldError(problem.detail, hint=problem.hint)
        if status >= _SERVER_ERROR:
            return ControlError(problem.detail, hint=problem.hint)
        return OrderRefusedError(problem.detail, hint=problem.hint)


def _read(kind: type[_AnswerT], content: str | bytes) -> _AnswerT:
    try:
        return decode(kind, content)
    except MismatchError as error:
        raise ControlVersionError(str(error), hint=_RESTART) from error

"""A client of the daemon's control socket."""

import socket
import tomllib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

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
from dockd.station.control import event_stream
from dockd.station.control.views import (
    CLIPS_AT_ONCE,
    ClipQuery,
    ClipStory,
    ClipView,
    PauseOrder,
    PauseView,
    Problem,
    ResumeOrder,
    ResyncAnswer,
    ResyncOrder,
    Status,
)

DEFAULT_SOCKET = Path("/run/dockd/control.sock")
_ANSWER_SECONDS = 30.0
_SILENCE_SECONDS = 25.0
"""How long events may be silent: the daemon gives a sign of life every ten seconds."""
_RESTART = "is the daemon older or newer than this command? systemctl restart dockd"
_CROWDED = "it stops, or answers as many as it can: end a dockd watch, or try again in a moment"
_PAUSES = TypeAdapter(list[PauseView])
_CLIPS = TypeAdapter(list[ClipView])

_AnswerT = TypeVar("_AnswerT")
_Reader = Callable[[str | bytes], _AnswerT]


def socket_path(config: Path, *, is_required: bool) -> Path:
    """Return the control socket that a configuration names.

    The rest of the file may have mistakes: who asks the daemon may be about to look for them.

    Args:
        config: the configuration file.
        is_required: without it, a file that can't be read is as good as one that doesn't
            say, since not everybody who may use the socket may read the file.

    Raises:
        ConfigError: the file is required, and can't be read.
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
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)),
            base_url="http://dockd/v1/",
            timeout=_ANSWER_SECONDS,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def status(self) -> Status:
        """Return how the station is."""
        return self._ask("GET", "status", Status.model_validate_json)

    def events(self) -> Generator[Status, None, None]:
        """Yield how the station is, now and whenever that changes, until the daemon ends."""
        timeout = httpx.Timeout(_ANSWER_SECONDS, read=_SILENCE_SECONDS)
        with (
            self._reaching(),
            self._http.stream("GET", "events", timeout=timeout) as response,
        ):
            if not response.is_success:
                response.read()
            self._check(response)
            for message in event_stream.parse(response.iter_bytes()):
                if message.event == "status":
                    yield _read(message.data, Status.model_validate_json)

    def clips(self, query: ClipQuery) -> list[ClipView]:
        """Return the clips that are asked for, the newest first, as many answers as that takes."""
        found: list[ClipView] = []
        while len(found) < query.limit:
            left = query.limit - len(found)
            page = query.model_copy(update={"limit": min(left, CLIPS_AT_ONCE)})
            asked = page.model_dump(mode="json", exclude_none=True)
            clips = self._ask("GET", "clips", _CLIPS.validate_json, params=asked)
            found += clips
            if len(clips) < page.limit:
                break
            query = query.model_copy(update={"before": clips[-1].id})
        return found

    def story(self, clip: str) -> ClipStory:
        """Return all that is known of a clip, by its number or its clip id."""
        return self._ask("GET", f"clips/{quote(clip, safe='')}", ClipStory.model_validate_json)

    def resync(self, order: ResyncOrder) -> ResyncAnswer:
        """Order the daemon to look again now."""
        return self._order("resync", order, ResyncAnswer.model_validate_json)

    def pause(self, order: PauseOrder) -> list[PauseView]:
        """Hold uploads or wipes; returns what is held now."""
        return self._order("pause", order, _PAUSES.validate_json)

    def resume(self, order: ResumeOrder) -> list[PauseView]:
        """Let uploads or wipes go on; returns what still is held."""
        return self._order("resume", order, _PAUSES.validate_json)

    def _order(self, name: str, order: BaseModel, read: _Reader[_AnswerT]) -> _AnswerT:
        return self._ask("POST", name, read, json=order.model_dump(mode="json"))

    def _ask(self, method: str, path: str, read: _Reader[_AnswerT], **options: Any) -> _AnswerT:
        with self._reaching():
            response = self._http.request(method, path, **options)
        self._check(response)
        return _read(response.content, read)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        self._knock()
        try:
            yield
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
            # It is there, and ended what had begun.
            raise DaemonDownError(f"{self._socket}: {_said(error)}", hint=_CROWDED) from error
        except httpx.TransportError as error:
            raise self._down(_said(error)) from error

    def _knock(self) -> None:
        """Connect once: httpx would hide the reason, and leave the socket open, if that fails."""
        try:
            with socket.socket(socket.AF_UNIX) as knocking:
                knocking.settimeout(_ANSWER_SECONDS)
                knocking.connect(str(self._socket))
        except PermissionError as error:
            raise ControlDeniedError(
                str(self._socket),
                hint="join the group dockd (adduser USER dockd, then log in anew)",
            ) from error
        except OSError as error:
            raise self._down(error.strerror or str(error)) from error

    def _down(self, detail: str) -> DaemonDownError:
        return DaemonDownError(
            f"{self._socket}: {detail}", hint="is it running? systemctl status dockd"
        )

    def _check(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        try:
            problem = Problem.model_validate_json(response.content)
        except ValidationError as error:
            if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                # The server's own words, before it looks at a request.
                raise DaemonDownError(str(self._socket), hint=_CROWDED) from error
            raise ControlVersionError(
                f"{self._socket} answers {response.status_code} to {response.url.path}",
                hint=_RESTART,
            ) from error
        if problem.error == "busy" and response.request.method == "POST":
            raise OrderHeldError(problem.detail, hint=problem.hint)
        if response.is_server_error:
            raise ControlError(problem.detail, hint=problem.hint)
        raise OrderRefusedError(problem.detail, hint=problem.hint)


def _said(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__


def _read(content: str | bytes, read: _Reader[_AnswerT]) -> _AnswerT:
    try:
        return read(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ControlVersionError(f"{place}: {first['msg']}", hint=_RESTART) from error

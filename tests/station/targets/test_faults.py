"""What each wrong answer means: who waits, who gives up, and what a person is told."""

import json
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
import structlog

from dockd.base.errors import RejectedError, TargetDownError, TargetError, TransientError
from dockd.station.targets import Sealed
from dockd.station.targets.reply import MAX_RETRY_AFTER
from dockd.station.targets.tus import TusTarget
from tests.clocks import START
from tests.station.targets.support import MIB, Station, TusServer, make_config, make_sealed, problem

TUS = {"Tus-Resumable": "1.0.0"}
REDIRECTS = [301, 302, 303, 307, 308]
CLIENT_ERRORS = [401, 402, 403, 405, 407, 408, 412, 423, 425, 429]
WAITED_FOR = [*REDIRECTS, *CLIENT_ERRORS, *range(500, 512), 599, 600, 999]


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    return make_sealed(tmp_path, 5000)


@pytest.fixture
def server() -> TusServer:
    return TusServer()


@pytest.fixture
def station(server: TusServer) -> Station:
    return Station(server)


def failing(
    server: TusServer, station: Station, sealed: Sealed, method: str, answer: httpx.Response
) -> TargetError:
    """Upload to a server that answers one method so, and return the error."""
    if method == "HEAD":
        station.upload(sealed)
    server.script[method].extend([answer] * 10)
    with pytest.raises(TargetError) as raised:
        station.upload(sealed)
    assert raised.value.hint
    return raised.value


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_server_that_never_will_store_the_clip_rejects_it(
    server: TusServer, station: Station, sealed: Sealed, method: str, status: int
) -> None:
    answer = problem(status, "manifest-refused", detail="the manifest is for another clip")
    error = failing(server, station, sealed, method, answer)
    assert isinstance(error, RejectedError)
    assert str(status) in error.detail
    assert "the manifest is for another clip" in error.detail


@pytest.mark.parametrize(
    ("method", "status"),
    [
        (method, status)
        for method in ("POST", "HEAD", "PATCH")
        for status in WAITED_FOR
        if (method, status) != ("HEAD", 403)  # there is no such upload: another one is created
    ],
)
def test_what_an_operator_can_mend_is_waited_for(
    server: TusServer, station: Station, sealed: Sealed, method: str, status: int
) -> None:
    error = failing(server, station, sealed, method, httpx.Response(status))
    assert isinstance(error, TransientError)
    assert f"answered {method} with {status}" in error.detail


@pytest.mark.parametrize("status", [404, 409, 410])
def test_a_creation_that_finds_no_endpoint_is_waited_for(
    server: TusServer, station: Station, sealed: Sealed, status: int
) -> None:
    error = failing(server, station, sealed, "POST", httpx.Response(status))
    assert isinstance(error, TransientError)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_asking_for_the_offset_never_rejects_a_clip(
    server: TusServer, station: Station, sealed: Sealed, status: int
) -> None:
    error = failing(server, station, sealed, "HEAD", httpx.Response(status))
    assert isinstance(error, TransientError)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("status", [400, 404, 413, 422, 502])
def test_a_web_page_is_a_proxy_speaking_and_rejects_nothing(
    server: TusServer, station: Station, sealed: Sealed, method: str, status: int
) -> None:
    page = httpx.Response(status, html="<html><body>Blocked by policy</body></html>")
    error = failing(server, station, sealed, method, page)
    assert isinstance(error, TransientError)
    assert "<html>" not in error.detail


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, "ERR_UPLOAD_INTERRUPTED: upload has been interrupted by another request"),
        (400, "ERR_UNEXPECTED_EOF: server expected to receive more bytes"),
        (500, "ERR_LOCK_TIMEOUT: failed to acquire lock before timeout"),
        (423, "ERR_UPLOAD_LOCKED: file currently locked"),
        (503, "ERR_SERVER_SHUTDOWN: request has been interrupted"),
    ],
)
def test_tusd_says_why_in_its_body(
    server: TusServer, station: Station, sealed: Sealed, status: int, body: str
) -> None:
    error = failing(server, station, sealed, "PATCH", httpx.Response(status, text=body))
    assert isinstance(error, TransientError)
    assert body in error.detail


def test_other_refusals_of_tusd_reject_the_clip(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    answer = httpx.Response(400, text="ERR_UPLOAD_REJECTED: by a hook", headers=TUS)
    error = failing(server, station, sealed, "POST", answer)
    assert isinstance(error, RejectedError)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("status", [400, 415, 422])
@pytest.mark.parametrize(
    "body",
    [b"", b"Blocked by policy", b'{"code": "blocked"}', b"<html><title>Blocked</title></html>"],
)
def test_a_refusal_that_shows_no_sign_of_a_tus_server_rejects_nothing(
    server: TusServer, station: Station, sealed: Sealed, method: str, status: int, body: bytes
) -> None:
    error = failing(server, station, sealed, method, httpx.Response(status, content=body))
    assert isinstance(error, TransientError)


@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH"])
@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html="<title>Station WiFi</title>"),
        httpx.Response(200),
        httpx.Response(204),
        httpx.Response(302, headers={"Location": "http://portal.example/"}),
        httpx.Response(511),
    ],
    ids=["page", "empty", "204", "302", "511"],
)
def test_a_captive_portal_is_told_as_what_it_is(
    server: TusServer, station: Station, sealed: Sealed, method: str, answer: httpx.Response
) -> None:
    error = failing(server, station, sealed, method, answer)
    assert isinstance(error, TargetDownError)
    assert "an intermediary before the server" in error.detail
    assert "portal" in error.hint or "redirect" in error.hint


@pytest.mark.parametrize(
    ("headers", "is_login"),
    [
        ({"WWW-Authenticate": 'Basic realm="x"'}, True),
        ({"WWW-Authenticate": "Negotiate"}, True),
        ({"Content-Type": "text/html"}, True),
        ({"WWW-Authenticate": "Bearer"}, False),
        ({}, False),
        (TUS, False),
    ],
)
def test_a_login_is_told_from_a_wrong_token(
    server: TusServer,
    station: Station,
    sealed: Sealed,
    headers: dict[str, str],
    is_login: bool,
) -> None:
    error = failing(server, station, sealed, "POST", httpx.Response(401, headers=headers))
    assert ("requires a login" in error.detail) is is_login
    assert ("target.token_file" in error.hint) is not is_login


@pytest.mark.parametrize("status", [400, 414, 431, 494])
def test_a_header_that_is_too_long_for_a_proxy_names_its_setting(
    server: TusServer, station: Station, sealed: Sealed, status: int
) -> None:
    page = httpx.Response(status, html="<title>400 Request Header Or Cookie Too Large</title>")
    error = failing(server, station, sealed, "POST", page)
    assert isinstance(error, TransientError)
    # It may be this clip's path alone that is so long.
    assert not isinstance(error, TargetDownError)
    assert "large_client_header_buffers" in error.hint


def limited(server: TusServer, most: int) -> Callable[[httpx.Request], httpx.Response]:
    """A proxy that lets bodies of so many bytes pass."""

    def answer(request: httpx.Request) -> httpx.Response:
        if len(request.content) > most:
            return httpx.Response(413, html="<title>413 Request Entity Too Large</title>")
        return server.answer(request)

    return answer


@pytest.mark.parametrize("most", [MIB, 5 * MIB // 2, 100_000, 64 * 1024])
def test_pieces_get_smaller_until_a_proxy_lets_them_pass(
    server: TusServer, tmp_path: Path, most: int
) -> None:
    sealed = make_sealed(tmp_path, 6 * MIB + 5)
    station = Station(server, make_config(chunk_size=64 * MIB))
    server.script["PATCH"].extend([limited(server, most)] * 1000)
    with structlog.testing.capture_logs() as log:
        station.upload(sealed)
    (upload,) = server.uploads.values()
    assert bytes(upload.data) == sealed.path.read_bytes()
    assert {line["event"] for line in log} == {"target.pieces_smaller"}
    assert log[-1]["now"] <= most
    assert station.progress[-1] == sealed.size


def test_the_size_that_passes_is_remembered(server: TusServer, tmp_path: Path) -> None:
    sealed = make_sealed(tmp_path, 6 * MIB)
    station = Station(server, make_config(chunk_size=64 * MIB))
    server.script["PATCH"].extend([limited(server, MIB)] * 1000)

    async def twice(target: TusTarget) -> None:
        await station.attempt(target, sealed)
        refused = len(server.asked("PATCH")) - 6
        assert refused > 0
        station.url = None
        await station.attempt(target, sealed)
        assert len(server.asked("PATCH")) == refused + 12

    station.run(twice)


def test_a_proxy_that_lets_nothing_pass_is_waited_for(server: TusServer, tmp_path: Path) -> None:
    sealed = make_sealed(tmp_path, 2 * MIB)
    station = Station(server)
    server.script["PATCH"].extend([limited(server, 1000)] * 1000)
    with pytest.raises(TransientError) as raised:
        station.upload(sealed)
    assert "client_max_body_size" in raised.value.hint
    assert raised.value.needs_operator


def test_the_servers_own_hint_is_passed_on(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    answer = problem(507, "store-full", detail="the disk is full", hint="call the evidence unit")
    error = failing(server, station, sealed, "POST", answer)
    assert error.hint == "call the evidence unit"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 60_000,
        b"null",
        b'{"code": 7, "detail": ["x"], "hint": {}}',
        b"\xff\xfe",
        json.dumps({"detail": "x" * 10_000}).encode(),
    ],
)
def test_a_malformed_problem_is_no_problem(
    server: TusServer, station: Station, sealed: Sealed, body: bytes
) -> None:
    answer = httpx.Response(503, content=body, headers={"Content-Type": "application/problem+json"})
    error = failing(server, station, sealed, "POST", answer)
    assert isinstance(error, TransientError)
    assert len(error.detail) < 400


def test_control_characters_of_a_server_reach_no_terminal(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    answer = httpx.Response(503, text="\x1b[2Jowned\r\x07 \u202eby me\nsecond line")
    error = failing(server, station, sealed, "POST", answer)
    assert error.detail.isprintable()
    assert "owned" in error.detail


# Nonsense -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        TUS,
        TUS | {"Location": ""},
        TUS | {"Location": "http://[::1"},
        TUS | {"Location": "javascript:alert(1)"},
        TUS | {"Location": "https://127.0.0.1:1080/files/1"},
        TUS | {"Location": "http://127.0.0.1/files/1"},
        TUS | {"Location": "http://other.example/files/1"},
        TUS | {"Location": "//other.example/files/1"},
        TUS | {"Location": "http://user:password@127.0.0.1:1080/files/1"},
        {"Location": "/files/1"},
        {"Location": "/files/1", "Tus-Resumable": "0.2.2"},
    ],
)
def test_a_creation_that_gives_no_usable_address_is_waited_for(
    server: TusServer, station: Station, sealed: Sealed, headers: dict[str, str]
) -> None:
    error = failing(server, station, sealed, "POST", httpx.Response(201, headers=headers))
    assert isinstance(error, TransientError)
    assert station.remembered == []
    assert server.methods() == ["OPTIONS", "POST"]


def test_a_creation_on_another_server_says_so(
    server: TusServer, station: Station, sealed: Sealed
) -> None:
    answer = httpx.Response(201, headers=TUS | {"Location": "http://inner:8080/files/1"})
    error = failing(server, station, sealed, "POST", answer)
    assert "http://inner:8080/files/1" in error.detail
    assert "X-Forwarded" in error.hint


@pytest.mark.parametrize(
    "location",
    ["7", "./7", "/files/7", "http://127.0.0.1:1080/other/7?key=1", "//127.0.0.1:1080/7"],
)
def test_an_address_relative_to_the_endpoint_is_resolved(
    server: TusServer, station: Station, sealed: Sealed, location: str
) -> None:
    def create(request: httpx.Request) -> httpx.Response:
        server.answer(request)
        path = httpx.URL(str(request.url)).join(location).path
        server.uploads[path] = server.uploads.pop("/files/1")
        return httpx.Response(201, headers=TUS | {"Location": location})

    server.script["POST"].append(create)
    station.upload(sealed)
    (upload,) = server.uploads.values()
    assert len(upload.data) == sealed.size


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_creation_needs_a_201(
    server: TusServer, station: Station, sealed: Sealed, status: int
) -> None:
    answer = httpx.Response(status, headers=TUS | {"Location": "/files/1"})
    error = failing(server, station, sealed, "POST", answer)
    assert isinstance(error, TransientError)


NO_OFFSETS = [b"", b"-1", b"+1", b"1.0", "\u0661".encode(), b"5001", b"9" * 5000]


def at_offset(status: int, offset: bytes) -> httpx.Response:
    return httpx.Response(
        status, headers=[(b"Tus-Resumable", b"1.0.0"), (b"Upload-Offset", offset)]
    )


@pytest.mark.parametrize("offset", NO_OFFSETS)
def test_an_offset_that_makes_no_sense_is_waited_for(
    server: TusServer, station: Station, sealed: Sealed, offset: bytes
) -> None:
    error = failing(server, station, sealed, "HEAD", at_offset(200, offset))
    assert isinstance(error, TransientError)
    assert "invalid response to HEAD" in error.detail


@pytest.mark.parametrize("offset", [*NO_OFFSETS, b"0"])
def test_an_offset_after_a_chunk_that_makes_no_sense_is_waited_for(
    server: TusServer, station: Station, sealed: Sealed, offset: bytes
) -> None:
    error = failing(server, station, sealed, "PATCH", at_offset(204, offset))
    assert isinstance(error, TransientError)
    assert "invalid response to PATCH" in error.detail


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("PATCH", 204)])
def test_a_missing_offset_is_waited_for(
    server: TusServer, station: Station, sealed: Sealed, method: str, status: int
) -> None:
    error = failing(server, station, sealed, method, httpx.Response(status, headers=TUS))
    assert isinstance(error, TransientError)


@pytest.mark.parametrize(
    ("method", "make"),
    [
        ("HEAD", lambda: httpx.Response(200, headers={"Upload-Offset": "5000"})),
        ("PATCH", lambda: httpx.Response(204, headers={"Upload-Offset": "5000"})),
        ("PATCH", lambda: httpx.Response(200, html="<p>thank you</p>")),
    ],
)
def test_a_success_that_is_not_tus_is_none(
    server: TusServer,
    station: Station,
    sealed: Sealed,
    method: str,
    make: Callable[[], httpx.Response],
) -> None:
    error = failing(server, station, sealed, method, make())
    assert isinstance(error, TransientError)


# Retry-After ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (format_datetime(START + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(START - timedelta(days=1), usegmt=True), 0),
        ("Saturday, 21-Nov-26 12:01:00 GMT", 60),  # RFC 850's form
        ("Sat Nov 21 12:01:00 2026", 60),  # asctime()'s form
        ("99999", MAX_RETRY_AFTER),
        ("9" * 400, MAX_RETRY_AFTER),
        (format_datetime(START + timedelta(days=400), usegmt=True), MAX_RETRY_AFTER),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Sat, 99 Nov 2026 12:00:00 GMT", None),
        ("Sat, 21 Nov 99999999999 12:00:00 GMT", None),
    ],
)
def test_the_server_may_ask_for_a_pause(
    server: TusServer, station: Station, sealed: Sealed, value: str, seconds: float | None
) -> None:
    answer = httpx.Response(503, headers={"Retry-After": value})
    error = failing(server, station, sealed, "POST", answer)
    assert isinstance(error, TransientError)
    assert error.retry_after == seconds

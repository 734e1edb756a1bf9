import contextlib
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from dockd.base.errors import RejectedError, TargetDownError, TargetError, TransientError
from dockd.station.targets import NotStored, ReceiptAnswer, Received, Sealed, Verifying
from dockd.station.targets.reply import MAX_BODY
from dockd.station.targets.tus import TusTarget
from tests.station.targets.support import (
    MANIFEST,
    RECEIPTS,
    Answer,
    Station,
    TusServer,
    make_config,
    make_sealed,
    problem,
)

NONCE = "n" * 32
STATEMENT = {"Content-Type": "application/jose"}


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    return make_sealed(tmp_path, 100)


@pytest.mark.parametrize(
    ("answer", "heard"),
    [
        (httpx.Response(200, text="a.b.c"), [True]),
        (problem(404, "clip-not-stored"), [False]),
        (problem(400, "manifest-refused"), [False]),
        (httpx.Response(200, html="<p>Please log in</p>"), []),
        (httpx.Response(404), []),
        (problem(401, "token-refused"), []),
        (problem(507, "store-full"), []),
        (httpx.Response(502, html="<h1>502 Bad Gateway</h1>"), []),
        (httpx.ReadTimeout("late"), []),
    ],
)
def test_only_the_servers_own_answers_show_that_it_is_there(
    sealed: Sealed, answer: Answer, heard: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = TusServer()
    server.script["PUT"].append(answer)
    config = make_config(receipts_url=RECEIPTS, receiver_keys=["receiver.pub"])
    told: list[bool] = []

    async def work(target: TusTarget) -> None:
        monkeypatch.setattr(
            target.health, "answered", lambda *, took_something: told.append(took_something)
        )
        with contextlib.suppress(TargetError):
            await target.receipt(sealed, NONCE)

    Station(server, config).run(work)
    assert told == heard


def ask(sealed: Sealed, answer: Answer, **keys: object) -> tuple[ReceiptAnswer, httpx.Request]:
    """Ask a receiver that answers so; returns what the target makes of it, and the request."""
    server = TusServer()
    server.script["PUT"].append(answer)
    config = make_config(**{"receipts_url": RECEIPTS, "receiver_keys": ["receiver.pub"], **keys})
    answers: list[ReceiptAnswer] = []

    async def work(target: TusTarget) -> None:
        assert target.gives_receipts
        answers.append(await target.receipt(sealed, NONCE))

    Station(server, config).run(work)
    return answers[0], server.requests[0]


def test_the_receipt_is_asked_for_with_the_manifest_in_hand(sealed: Sealed) -> None:
    answer, request = ask(sealed, httpx.Response(200, text="a.b.c"))
    assert answer == Received("a.b.c", "")
    assert str(request.url) == RECEIPTS + sealed.clip_id
    assert request.content == MANIFEST.encode()
    assert request.headers["Content-Type"] == "application/jose"
    assert request.headers["Prefer"] == "wait=10"
    assert request.headers["Dockd-Nonce"] == NONCE


def test_the_answer_to_the_question_is_passed_on(sealed: Sealed) -> None:
    headers = {"Dockd-Answer": "d.e.f"}
    answer, _ = ask(sealed, httpx.Response(200, text="a.b.c", headers=headers | STATEMENT))
    assert answer == Received("a.b.c", "d.e.f")


def test_the_receiver_is_asked_to_answer_before_the_station_stops_listening(
    sealed: Sealed,
) -> None:
    _, request = ask(sealed, httpx.Response(200, text="a.b.c"), timeout_seconds=8)
    assert request.headers["Prefer"] == "wait=4"


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (httpx.Response(202, headers={"Retry-After": "7"}), 7.0),
        (httpx.Response(202, headers={"Retry-After": "0"}), 0.0),
        (problem(202, "verifying"), 1.0),
    ],
)
def test_a_receiver_that_still_verifies_says_when_to_ask_again(
    sealed: Sealed, reply: httpx.Response, seconds: float
) -> None:
    answer, _ = ask(sealed, reply)
    assert answer == Verifying(seconds)


def test_a_clip_that_the_receiver_does_not_have_is_not_stored(sealed: Sealed) -> None:
    answer, _ = ask(sealed, problem(404, "clip-not-stored"))
    assert answer == NotStored()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404),
        httpx.Response(404, text="clip-not-stored"),
        httpx.Response(404, html='{"code": "clip-not-stored"}'),
        problem(404, "not-found"),
        httpx.Response(410),
        httpx.Response(201, text="a.b.c"),
        httpx.Response(204),
        httpx.Response(303, headers={"Location": "/elsewhere"}),
        problem(401, "unauthorized"),
        problem(403, "not-enrolled"),
        problem(507, "store-full"),
        httpx.Response(502, html="<h1>502 Bad Gateway</h1>"),
        httpx.ReadTimeout("late"),
    ],
)
def test_any_other_answer_says_nothing_about_the_clip(sealed: Sealed, answer: Answer) -> None:
    with pytest.raises(TransientError) as raised:
        ask(sealed, answer)
    assert raised.value.hint


IN_ITS_PLACE = [
    httpx.Response(200, html="<html><title>Station WiFi</title>Please log in</html>"),
    httpx.Response(200, content=b"<!DOCTYPE html><p>Please log in</p>"),
    httpx.Response(200, text="<html>Please log in</html>"),
    httpx.Response(200, content=b""),
    httpx.Response(200, content=b"Please log in"),
    httpx.Response(200, json={"status": "ok"}),
    httpx.Response(200, content=b"a.b"),
    httpx.Response(202, html="<p>Please log in</p>"),
    httpx.Response(202, html="<p>Please log in</p>", headers={"Retry-After": "5"}),
    httpx.Response(202),
    httpx.Response(202, text="Your request is being scanned"),
    httpx.Response(204),
    httpx.Response(302, headers={"Location": "http://portal.example/login"}),
    httpx.Response(307, headers={"Location": "http://portal.example/login"}),
    httpx.Response(511, html="<p>Please log in</p>"),
    httpx.Response(511),
    httpx.Response(401, headers={"WWW-Authenticate": 'Basic realm="evidence"'}),
    httpx.Response(401, html="<h1>401 Authorization Required</h1>"),
    httpx.Response(400, html="<p>Blocked</p>"),
    httpx.Response(403, html="<p>Blocked</p>"),
]


@pytest.mark.parametrize("answer", IN_ITS_PLACE, ids=lambda one: f"{one.status_code}")
def test_what_answers_in_the_servers_place_is_told_as_that_and_is_no_receipt(
    sealed: Sealed, answer: httpx.Response
) -> None:
    with pytest.raises(TargetDownError) as raised:
        ask(sealed, answer)
    assert "an intermediary before the server" in raised.value.detail
    assert str(answer.status_code) in raised.value.detail
    assert "token does" not in raised.value.hint
    assert raised.value.needs_operator


@pytest.mark.parametrize("status", [400, 413, 415, 422])
@pytest.mark.parametrize("kind", ["text", "html", "json", "empty"])
def test_a_refusal_that_is_not_the_receivers_rejects_nothing(
    sealed: Sealed, status: int, kind: str
) -> None:
    answer = {
        "text": httpx.Response(status, text="refused"),
        "html": httpx.Response(status, html="<p>refused</p>"),
        "json": httpx.Response(status, json={"code": "refused", "detail": "by a filter"}),
        "empty": httpx.Response(status),
    }[kind]
    with pytest.raises(TransientError):
        ask(sealed, answer)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_manifest_that_is_refused_rejects_the_clip(sealed: Sealed, status: int) -> None:
    with pytest.raises(RejectedError):
        ask(sealed, problem(status, "manifest-refused"))


@pytest.mark.parametrize(
    ("body", "token"),
    [
        (b"", ""),
        (b"<html><body>Welcome</body></html>", "<html><body>Welcome</body></html>"),
        (b"\xff\x00\xfea", "\ufffd\x00\ufffda"),
    ],
)
def test_a_statement_is_passed_on_as_it_is_for_the_verifier_to_refuse(
    sealed: Sealed, body: bytes, token: str
) -> None:
    answer, _ = ask(sealed, httpx.Response(200, content=body, headers=STATEMENT))
    assert answer == Received(token, "")


def test_an_endless_receipt_is_cut_off_one_byte_past_the_limit(sealed: Sealed) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield b"A" * 1000

    answer, _ = ask(sealed, httpx.Response(200, content=endless(), headers=STATEMENT))
    assert answer == Received("A" * (MAX_BODY + 1), "")
    assert given == MAX_BODY // 1000 + 1


def test_a_compressed_receipt_is_not_blown_up(sealed: Sealed) -> None:
    answer, request = ask(
        sealed,
        httpx.Response(
            200, headers=STATEMENT | {"Content-Encoding": "gzip"}, content=compressed_zeros()
        ),
    )
    assert isinstance(answer, Received)
    assert len(answer.receipt) < 1000
    assert request.headers["Accept-Encoding"] == "identity"


async def compressed_zeros() -> AsyncIterator[bytes]:
    yield gzip.compress(bytes(100_000))


def test_a_server_without_receipts_has_none(sealed: Sealed) -> None:
    server = TusServer()
    answers: list[ReceiptAnswer] = []

    async def work(target: TusTarget) -> None:
        assert not target.gives_receipts
        answers.append(await target.receipt(sealed, NONCE))

    Station(server).run(work)
    assert answers == [NotStored()]
    assert server.requests == []


def test_a_journal_that_the_receiver_contradicts_needs_an_operator(sealed: Sealed) -> None:
    problem = {"code": "history-forked", "detail": "it was another one", "status": 409}
    headers = {"Content-Type": "application/problem+json"}
    with pytest.raises(TransientError) as raised:
        ask(sealed, httpx.Response(409, json=problem, headers=headers))
    assert raised.value.needs_operator
    assert raised.value.code == "history-forked"
    assert "it was another one" in raised.value.detail


def test_where_the_journal_is_known_to_stand_is_asked_under_a_nonce() -> None:
    server = TusServer()
    server.script["GET"].append(httpx.Response(200, text="a.b.c", headers=STATEMENT))
    answers: list[str] = []

    async def work(target: TusTarget) -> None:
        answers.append(await target.anchor("key-1", NONCE))

    config = make_config(receipts_url=RECEIPTS, receiver_keys=["receiver.pub"])
    Station(server, config).run(work)
    assert answers == ["a.b.c"]
    (request,) = server.requests
    assert str(request.url) == RECEIPTS + "anchors/key-1"
    assert request.headers["Dockd-Nonce"] == NONCE

"""The journal held against what the receiver knows of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog

from dockd.base.clock import Clock
from dockd.base.errors import TargetDownError, TransientError
from dockd.base.incidents import Incidents
from dockd.evidence.journal import GENESIS
from dockd.evidence.keys import SigningKey
from dockd.evidence.statements import Anchor, JournalHead, Signer, sign
from dockd.station.control.troubles import of_incident
from dockd.station.ledger.ledger import Ledger
from dockd.station.pipeline.confirming import Confirmations
from dockd.station.pipeline.history import History
from dockd.station.targets.health import TargetHealth
from tests.support import Handled, make_manifest

STATION, RECEIVER, STRANGER = (SigningKey.generate() for _ in range(3))


class Witness:
    """A target that is asked for nothing but the anchor of a station's journal."""

    health: TargetHealth

    def __init__(self) -> None:
        self.gives_receipts = True
        self.head: JournalHead | None = None
        self.key = RECEIVER
        self.nonce: str | None = None
        """What is answered instead of the question's own."""
        self.is_down = False
        self.asked = 0

    async def anchor(self, kid: str, nonce: str) -> str:
        self.asked += 1
        if self.is_down:
            raise TargetDownError("nothing listens there")
        anchor = Anchor(
            nonce=self.nonce or nonce,
            station=Signer(id="camden-07", kid=kid),
            journal=self.head,
            receiver=Signer(id="evidence-1", kid=self.key.kid),
            answered_at="2026-11-21T12:01:01.000Z",
        )
        return sign(anchor, self.key)

    async def receipt(self, *_: object) -> Any:
        raise TargetDownError("nobody asks")

    async def upload(self, *_: object) -> None:
        raise TargetDownError("nobody asks")

    async def aclose(self) -> None:
        """Nothing to close."""


class Bench:
    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder / "ledger.db", Clock())
        for _ in range(5):
            self.ledger.journal.record("order.resume", uid=0, what="wipes")
        self.witness = Witness()
        self.incidents = Incidents(Clock())
        self.settled = asyncio.Event()

    def run(self, script: Callable[[History], Awaitable[None]]) -> None:
        async def play() -> None:
            history = History(
                self.ledger,
                self.witness,
                Clock(),
                self.incidents,
                kid=STATION.kid,
                receiver_keys=[RECEIVER.verify_key],
                reports=Handled(lambda _: self.settled.set()),
            )
            running = asyncio.create_task(history.run())
            async with asyncio.timeout(20):
                await script(history)
            running.cancel()

        asyncio.run(play())

    def shows(self) -> list[str]:
        return [failing.event for failing in self.incidents.shown()]

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    with closing(made.ledger):
        yield made


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def entry(ledger: Ledger, seq: int) -> JournalHead:
    return next(one.head for one in ledger.journal.entries(seq - 1))


def test_wipes_wait_until_the_receiver_was_asked(bench: Bench) -> None:
    async def script(history: History) -> None:
        assert history.holds_wipes
        await bench.settled.wait()
        assert not history.holds_wipes
        assert bench.shows() == []

    bench.witness.head = entry(bench.ledger, 3)
    bench.run(script)
    assert bench.witness.asked == 1


def test_a_receiver_that_knows_nothing_yet_holds_nothing_up(bench: Bench) -> None:
    async def script(history: History) -> None:
        await bench.settled.wait()
        assert not history.holds_wipes

    bench.run(script)


@pytest.mark.parametrize("seq", [3, 9])
def test_wipes_are_held_and_it_is_told_where_the_receiver_knows_another_journal(
    bench: Bench, log: list[Any], seq: int
) -> None:
    async def script(history: History) -> None:
        await bench.until(lambda: bench.shows() == ["journal.forked"])
        assert history.holds_wipes
        (failing,) = bench.incidents.shown()
        assert of_incident(failing).needs_person
        bench.witness.head = entry(bench.ledger, 3)
        history.compare_now()
        await bench.settled.wait()
        assert not history.holds_wipes
        assert bench.shows() == []

    bench.witness.head = JournalHead(seq=seq, hash="0" * 64)
    bench.run(script)
    (line,) = [line for line in log if line["event"] == "journal.forked"]
    assert f"entry {seq}" in line["detail"]
    assert "docs/operate.md" in line["hint"]


def test_a_manifest_in_the_spool_that_the_journal_does_not_tell_of_shows_a_step_back(
    bench: Bench,
) -> None:
    """As after the ledger was restored from a backup that is older than the spool."""
    later = make_manifest(STATION, journal=JournalHead(seq=30, hash="3" * 64))
    bench.ledger.ingests.take_in(later, sign(later, STATION))

    async def script(history: History) -> None:
        await bench.until(lambda: bench.shows() == ["journal.forked"])
        assert history.holds_wipes

    bench.run(script)
    assert bench.witness.asked == 0


@pytest.mark.parametrize("kind", ["replayed", "by a stranger"])
def test_a_word_that_can_not_be_relied_on_releases_nothing_and_is_told(
    bench: Bench, kind: str
) -> None:
    if kind == "replayed":
        bench.witness.nonce = "o" * 32
    else:
        bench.witness.key = STRANGER

    async def script(history: History) -> None:
        await bench.until(lambda: bench.shows() == ["journal.unwitnessed"])
        assert history.holds_wipes

    bench.run(script)


def test_a_receiver_that_is_down_is_asked_again(bench: Bench) -> None:
    async def script(history: History) -> None:
        await bench.until(lambda: bench.witness.asked > 0)
        assert history.holds_wipes
        assert bench.shows() == []
        bench.witness.is_down = False
        history.compare_now()
        await bench.settled.wait()

    bench.witness.is_down = True
    bench.run(script)


def test_that_wipes_wait_for_a_receiver_is_told_when_it_lasts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockd.station.pipeline.history._PATIENCE", 0.0)
    bench.witness.is_down = True

    async def script(history: History) -> None:
        await bench.until(lambda: bench.shows() == ["journal.unwitnessed"])
        bench.witness.is_down = False
        history.compare_now()
        await bench.settled.wait()
        assert bench.shows() == []

    bench.run(script)


def test_where_there_are_no_receipts_nothing_is_compared(bench: Bench) -> None:
    bench.witness.gives_receipts = False

    async def script(history: History) -> None:
        assert not history.holds_wipes

    bench.run(script)
    assert bench.witness.asked == 0
    assert bench.ledger.journal.last_anchor(STATION.kid) == GENESIS


def test_a_journal_that_the_receiver_doubts_is_compared_at_once(
    bench: Bench, log: list[Any]
) -> None:
    async def script(history: History) -> None:
        await bench.until(lambda: not history.holds_wipes)
        bench.witness.head = JournalHead(seq=3, hash="f" * 64)
        refused = TransientError("it was another one")
        doubting = Handled(lambda _: history.doubted())
        Confirmations(bench.witness, [], Clock(), doubting).heed(refused)
        await asyncio.sleep(0)
        assert not history.holds_wipes
        refused.code = "history-forked"
        Confirmations(bench.witness, [], Clock(), doubting).heed(refused)
        await bench.until(lambda: history.holds_wipes)

    bench.run(script)
    assert [line["event"] for line in log] == ["journal.forked"]

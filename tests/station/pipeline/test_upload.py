"""Who is tried when, and what is told of whom, over minutes and hours."""

import asyncio
import hashlib
import io
import itertools
import json
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dockd.base import logs
from dockd.base.clock import Clock
from dockd.base.errors import (
    LedgerError,
    RejectedError,
    SpoolDamagedError,
    SpoolError,
    TargetDownError,
    TransientError,
)
from dockd.base.incidents import Incident
from dockd.evidence.keys import SigningKey
from dockd.evidence.statements import Content, JournalHead, derive_clip_id, sign
from dockd.host.files import Files
from dockd.station.config import TargetConfig
from dockd.station.control.metrics import Metrics
from dockd.station.control.troubles import of_incident
from dockd.station.ledger.ingests import SealedFacts
from dockd.station.ledger.ledger import Ledger
from dockd.station.ledger.queries import Queries
from dockd.station.lifecycle import State
from dockd.station.model import Camera, Clip, FileStat, FoundFile, Match
from dockd.station.pipeline.activity import Activity
from dockd.station.pipeline.confirming import Confirmations
from dockd.station.pipeline.delivery import PATIENCE
from dockd.station.pipeline.upload import Uploader
from dockd.station.reports import Reports
from dockd.station.spool import Spool
from dockd.station.targets import NotStored, ReceiptAnswer, Received, Sealed, Verifying
from dockd.station.targets.health import TargetHealth
from tests import virtual
from tests.support import Handled, make_answer, make_manifest, make_receipt, writing

CAMERA = Camera("generic", "CAM-0001")
HOUR = 3600.0

Answer = ReceiptAnswer | Exception


class FailingQueries(Queries):
    """Queries that a test can keep from being answered."""

    readable = True

    def to_upload(self, limit: int, **query: Any) -> list[Clip]:
        if not self.readable:
            raise LedgerError("disk I/O error", hint="look at the disk")
        return super().to_upload(limit, **query)


class Server:
    """A target that takes what it is given, except where a test says otherwise."""

    gives_receipts = True
    health: TargetHealth

    def __init__(self, clock: Clock, key: SigningKey) -> None:
        self.key = key
        self.answers: dict[str, Answer] = {}
        """By clip id, what is said instead of its receipt, or that it isn't stored."""
        self.failures: dict[str, Exception] = {}
        """By clip id, what its upload ends with."""
        self.asked: dict[str, list[float]] = defaultdict(list)
        """By clip id, when a receipt was asked for."""
        self.receipts: dict[str, str] = {}
        self._stored: set[str] = set()
        self._clock = clock

    async def receipt(self, sealed: Sealed, nonce: str) -> ReceiptAnswer:
        self.asked[sealed.clip_id].append(self._clock.monotonic())
        answer = self.answers.get(sealed.clip_id)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        if sealed.clip_id not in self._stored:
            return NotStored()
        receipt = self.receipts[sealed.clip_id]
        return Received(receipt, make_answer(self.key, receipt, nonce))

    async def anchor(self, kid: str, nonce: str) -> str:
        raise TransientError("nobody asks")

    async def upload(
        self,
        sealed: Sealed,
        url: str | None,
        remember: Callable[[str], Awaitable[None]],
        progress: Callable[[int], None],
    ) -> None:
        if sealed.clip_id in self.failures:
            raise self.failures[sealed.clip_id]
        progress(sealed.size)
        self._stored.add(sealed.clip_id)

    async def aclose(self) -> None:
        """Nothing to close."""


class Bench:
    """A ledger, a spool and an uploader, on a clock that takes no time."""

    def __init__(self, folder: Path, **config: Any) -> None:
        clock = virtual.VirtualClock()
        self.station, self.receiver = SigningKey.generate(), SigningKey.generate()
        self.ledger = Ledger(folder / "ledger.db", clock)
        self.ledger.queries = self.queries = FailingQueries(self.ledger.database)
        self.server = Server(clock, self.receiver)
        self.activity = Activity(clock, Metrics())
        self.server.health = TargetHealth(
            "https://evidence.example/", clock, self.activity.incidents
        )
        self.spool = Spool(folder / "spool", budget=2**30, reserve=0, files=Files(), clock=clock)
        self.spool.recover({})
        self.docking = self.ledger.dockings.begin(CAMERA, "bay 1")
        self.found: list[FoundFile] = []
        self.doubts: list[float] = []
        """When the receiver has said that the journal contradicts itself."""
        self.uploader = Uploader(
            self.ledger,
            self.spool,
            self.server,
            clock,
            self.activity,
            config=TargetConfig(url="https://evidence.example/files/", **config),
            confirmations=Confirmations(
                self.server,
                [self.receiver.verify_key],
                clock,
                Handled(lambda _: self.doubts.append(clock.monotonic())),
            ),
            reports=Reports(),
        )

    def bring(self, name: str) -> str:
        """Spool a new clip; returns its clip id."""
        self.found.append(FoundFile(name.encode(), 1000, 0, Match("video")))
        self.ledger.dockings.observe(CAMERA, self.docking, self.found)
        return self.read(name)

    def read(self, name: str) -> str:
        """Spool a clip that was found; returns its clip id."""
        clip = self.clip(name)
        plaintext = Content(sha256=hashlib.sha256(name.encode()).hexdigest(), size=1000)
        data = random.randbytes(1200)
        ciphertext = Content(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        with writing(self.spool) as part:
            self.spool.write(part, memoryview(data))
            self.spool.publish(part, ciphertext.sha256)
        manifests = []

        def signed(head: JournalHead) -> str:
            manifests.append(
                make_manifest(
                    self.station, plaintext=plaintext, ciphertext=ciphertext, journal=head
                )
            )
            return sign(manifests[0], self.station)

        clip_id = derive_clip_id(CAMERA.id, plaintext.sha256)
        self.ledger.ingests.begin(clip, self.docking)
        facts = SealedFacts(clip_id, FileStat(1000, 0, 0, 0, 0), plaintext, ciphertext)
        self.ledger.ingests.spooled(clip, facts, signed(self.ledger.journal.head()))
        self.give_receipts_with(self.receiver, name, manifests[0])
        self.uploader.look_again()
        return clip_id

    def give_receipts_with(self, key: SigningKey, name: str, manifest: Any) -> None:
        receipt = make_receipt(key, manifest, str(self.clip(name).manifest))
        self.server.receipts[manifest.clip_id] = sign(receipt, key)

    def clip(self, name: str) -> Clip:
        (clip,) = [one for one in self.ledger.queries.clips() if one.name == name]
        return clip

    def failing(self) -> list[Incident]:
        return self.activity.incidents.shown()

    def in_spool(self) -> set[str]:
        return {path.name for path in self.spool.folder.glob("[!.]*")}


@pytest.fixture(autouse=True)
def same_pauses() -> None:
    random.seed(7)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure(style="json", stream=stream)
    yield stream
    logs.configure()


def said(log: io.StringIO) -> Counter[str]:
    return Counter(json.loads(line)["event"] for line in log.getvalue().splitlines())


def play(
    folder: Path,
    script: Callable[[Bench], Awaitable[None]],
    *,
    readable: bool = True,
    **config: Any,
) -> None:
    """Let an uploader work beside a script, until that ends."""

    async def main() -> None:
        bench = Bench(folder, **config)
        with closing(bench.ledger):
            bench.queries.readable = readable
            working = asyncio.ensure_future(bench.uploader.run())
            try:
                await script(bench)
                assert not working.done()
            finally:
                working.cancel()
                await asyncio.wait({working})

    virtual.run(main())


# One clip, or the target


def test_a_clip_that_fails_while_others_go_through_is_its_own_trouble(
    tmp_path: Path, log: io.StringIO
) -> None:
    async def script(bench: Bench) -> None:
        bad = bench.bring("bad.mp4")
        bench.server.answers[bad] = TargetDownError("503", hint="wait", retry_after=30.0)
        for number in range(40):
            bench.bring(f"{number}.mp4")
            await asyncio.sleep(10)
        asked = bench.server.asked[bad]
        assert len(asked) > 2
        assert all(after - before >= 30 for before, after in itertools.pairwise(asked))
        (failing,) = bench.failing()
        assert failing.event == "clip.retrying"
        assert failing.error.message == "The server can't accept the clip now: 503"
        assert bench.uploader.target.reachable is True
        assert bench.clip("39.mp4").state is State.ACKNOWLEDGED
        del bench.server.answers[bad]
        await asyncio.sleep(HOUR)
        assert bench.failing() == []

    play(tmp_path, script)
    assert said(log)["target.down"] == said(log)["target.up"] == 1
    assert said(log)["clip.recovered"] == 1


def down_until_100(bench: Bench) -> tuple[str, str]:
    """Two clips find the server down, and it asks one of them for 200 seconds."""
    plain, asked_to_wait = bench.bring("a.mp4"), bench.bring("b.mp4")
    bench.server.answers[plain] = TargetDownError("nothing listens there")
    bench.server.answers[asked_to_wait] = TargetDownError("503", retry_after=200.0)
    return plain, asked_to_wait


LONG_PAUSES: dict[str, Any] = {"retry_first_seconds": 36_000.0, "retry_cap_seconds": 36_000.0}


def test_a_target_that_is_up_again_gets_what_waited_for_it_but_not_before_it_asked(
    tmp_path: Path, log: io.StringIO
) -> None:
    async def script(bench: Bench) -> None:
        plain, asked_to_wait = down_until_100(bench)
        await asyncio.sleep(100)
        assert {failing.event for failing in bench.failing()} == {"target.down"}
        assert bench.uploader.target.reachable is False
        bench.server.answers.clear()
        bench.bring("c.mp4")
        await asyncio.sleep(300)
        assert bench.server.asked[plain][1] == 100
        assert bench.server.asked[asked_to_wait][1] == 200
        assert bench.failing() == []

    play(tmp_path, script, **LONG_PAUSES)
    assert said(log)["target.down"] == 2  # as there are two causes
    assert said(log)["target.up"] == 1


def test_a_person_may_cut_short_even_what_the_server_asked_for(tmp_path: Path) -> None:
    async def script(bench: Bench) -> None:
        _, asked_to_wait = down_until_100(bench)
        await asyncio.sleep(50)
        bench.server.answers.clear()
        bench.uploader.wake()
        await asyncio.sleep(1)
        assert bench.server.asked[asked_to_wait][1] == 50

    play(tmp_path, script, **LONG_PAUSES)


# Receipts


def test_a_receipt_that_is_long_in_coming_is_asked_for_ever_more_rarely_and_is_told(
    tmp_path: Path,
) -> None:
    async def script(bench: Bench) -> None:
        slow = bench.bring("slow.mp4")
        bench.server.answers[slow] = Verifying(0.0)
        await asyncio.sleep(PATIENCE / 2)
        asked = bench.server.asked[slow]
        pauses = [after - before for before, after in itertools.pairwise(asked)]
        assert min(pauses) >= 1
        assert pauses == sorted(pauses)
        assert pauses[-1] > 20
        assert bench.failing() == []
        bench.bring("other.mp4")
        await asyncio.sleep(1)
        assert bench.clip("other.mp4").state is State.ACKNOWLEDGED
        await asyncio.sleep(PATIENCE)
        (failing,) = bench.failing()
        assert failing.event == "clip.retrying"
        assert "read it back" in failing.error.message
        assert not of_incident(failing).needs_person
        del bench.server.answers[slow]
        await asyncio.sleep(HOUR)
        assert bench.clip("slow.mp4").state is State.ACKNOWLEDGED
        assert bench.failing() == []
        assert len(asked) < 60

    play(tmp_path, script, concurrency=1)


def test_a_receiver_that_wants_a_long_pause_is_told_at_once(tmp_path: Path) -> None:
    async def script(bench: Bench) -> None:
        slow = bench.bring("slow.mp4")
        bench.server.answers[slow] = Verifying(HOUR)
        await asyncio.sleep(HOUR - 1)
        assert len(bench.server.asked[slow]) == 1
        (failing,) = bench.failing()
        assert "wants another 3600 s" in failing.error.message

    play(tmp_path, script)


def test_a_refused_receipt_needs_a_person_until_one_holds(tmp_path: Path, log: io.StringIO) -> None:
    async def script(bench: Bench) -> None:
        clip_id = bench.bring("a.mp4")
        bench.server.answers[clip_id] = Received("nonsense", "")
        await asyncio.sleep(HOUR)
        (failing,) = bench.failing()
        trouble = of_incident(failing)
        assert trouble.event == "receipt.refused"
        assert trouble.needs_person
        assert trouble.path == "a.mp4"
        assert "target.receiver_keys" in trouble.hint
        assert bench.clip("a.mp4").state is State.UPLOADING
        del bench.server.answers[clip_id]
        await asyncio.sleep(HOUR)
        assert bench.clip("a.mp4").state is State.ACKNOWLEDGED
        assert bench.failing() == []

    play(tmp_path, script)
    assert 1 < said(log)["receipt.refused"] < 10
    assert said(log)["clip.retrying"] == 0


def test_a_server_that_has_lost_a_clip_is_not_said_to_have_been_sent_it(tmp_path: Path) -> None:
    async def script(bench: Bench) -> None:
        clip_id = bench.bring("a.mp4")
        bench.server.answers[clip_id] = NotStored()
        await asyncio.sleep(1)
        (failing,) = bench.failing()
        assert "had all of clip" in failing.error.message

    play(tmp_path, script, **LONG_PAUSES)


def test_an_answer_clears_what_it_disproves(tmp_path: Path, log: io.StringIO) -> None:
    async def script(bench: Bench) -> None:
        clip_id = bench.bring("a.mp4")
        bench.server.answers[clip_id] = TargetDownError("nothing listens there")
        await asyncio.sleep(HOUR)
        assert [one.event for one in bench.failing()] == ["target.down"]
        bench.server.answers[clip_id] = Received("nonsense", "")
        await asyncio.sleep(HOUR)
        assert [one.event for one in bench.failing()] == ["receipt.refused"]
        assert bench.uploader.target.reachable is True

    play(tmp_path, script)
    assert said(log)["target.up"] == 1


def test_a_rejection_shows_that_the_server_is_there(tmp_path: Path) -> None:
    async def script(bench: Bench) -> None:
        clip_id = bench.bring("a.mp4")
        bench.server.answers[clip_id] = TargetDownError("nothing listens there")
        await asyncio.sleep(HOUR)
        bench.server.answers[clip_id] = RejectedError("too large")
        await asyncio.sleep(HOUR)
        assert bench.clip("a.mp4").state is State.REJECTED
        assert bench.uploader.target.reachable is True
        assert bench.failing() == []

    play(tmp_path, script)


@pytest.mark.parametrize(
    ("said_no", "took_something", "is_up"),
    [(False, False, True), (False, True, True), (True, False, False), (True, True, True)],
)
def test_an_upload_under_way_shows_a_server_that_is_up_again(
    tmp_path: Path, said_no: bool, took_something: bool, is_up: bool
) -> None:
    down = TargetDownError("down")
    down.answered = said_no

    async def script(bench: Bench) -> None:
        clip_id = bench.bring("a.mp4")
        bench.server.answers[clip_id] = down
        await asyncio.sleep(60)
        assert bench.uploader.target.reachable is False
        bench.server.health.answered(took_something=took_something)
        assert bench.uploader.target.reachable is is_up
        assert (bench.failing() == []) is is_up
        # And it is shown again when it fails again.
        await asyncio.sleep(HOUR)
        assert bench.uploader.target.reachable is False
        assert [one.event for one in bench.failing()] == ["target.down"]

    play(tmp_path, script)


def test_what_only_an_operator_can_mend_needs_one_when_it_lasts(tmp_path: Path) -> None:
    async def script(bench: Bench) -> None:
        clip_id = bench.bring("a.mp4")
        bench.server.answers[clip_id] = TargetDownError("401", needs_operator=True)
        await asyncio.sleep(5)
        (failing,) = bench.failing()
        assert not of_incident(failing).needs_person
        await asyncio.sleep(HOUR)
        (failing,) = bench.failing()
        assert of_incident(failing).needs_person
        bench.server.answers[clip_id] = TargetDownError("nothing listens there")
        await asyncio.sleep(HOUR)
        (failing,) = bench.failing()
        assert not of_incident(failing).needs_person

    play(tmp_path, script)


def test_a_cause_that_changes_is_told_when_it_changes(tmp_path: Path, log: io.StringIO) -> None:
    async def script(bench: Bench) -> None:
        clip_id = bench.bring("a.mp4")
        bench.server.answers[clip_id] = TargetDownError("nothing listens there")
        await asyncio.sleep(10 * HOUR)
        before = said(log)["target.down"]
        bench.server.answers[clip_id] = TargetDownError("401 Unauthorized")
        await asyncio.sleep(600)
        assert said(log)["target.down"] > before
        assert "401" in log.getvalue()

    play(tmp_path, script)


# The station's own disk


def test_a_ledger_that_cannot_be_read_is_told_as_what_it_is_until_it_can(
    tmp_path: Path, log: io.StringIO
) -> None:
    async def script(bench: Bench) -> None:
        await asyncio.sleep(60)
        (failing,) = bench.failing()
        assert failing.event == "ledger.failed"
        assert failing.error.hint == "look at the disk"
        bench.queries.readable = True
        await asyncio.sleep(60)
        assert bench.failing() == []

    play(tmp_path, script, readable=False)
    assert said(log) == {"ledger.failed": 1, "ledger.recovered": 1}


@pytest.mark.parametrize("at", ["question", "upload"])
def test_a_receiver_that_contradicts_the_journal_has_it_compared(tmp_path: Path, at: str) -> None:
    async def script(bench: Bench) -> None:
        clip_id = bench.bring("a.mp4")
        refused = TransientError("it was another one")
        (bench.server.answers if at == "question" else bench.server.failures)[clip_id] = refused
        await asyncio.sleep(HOUR)
        assert bench.doubts == []
        refused.code = "history-forked"
        await asyncio.sleep(HOUR)
        assert bench.doubts

    play(tmp_path, script)


def test_a_spool_that_cannot_be_read_now_costs_no_ciphertext(tmp_path: Path) -> None:
    async def script(bench: Bench) -> None:
        clip_id = bench.bring("a.mp4")
        bench.server.failures[clip_id] = SpoolError("Too many open files", hint="wait")
        before = bench.in_spool()
        await asyncio.sleep(HOUR)
        assert bench.in_spool() == before
        assert bench.clip("a.mp4").state is State.UPLOADING
        (failing,) = bench.failing()
        assert failing.event == "clip.retrying"
        assert failing.error.message == "The spool can't be used: Too many open files"
        bench.server.failures.clear()
        await asyncio.sleep(HOUR)
        assert bench.clip("a.mp4").state is State.ACKNOWLEDGED
        assert bench.in_spool() == set()
        assert bench.failing() == []

    play(tmp_path, script)


def test_what_is_left_of_a_damaged_ciphertext_is_kept_until_its_clip_is_acknowledged(
    tmp_path: Path, log: io.StringIO
) -> None:
    async def script(bench: Bench) -> None:
        clip_id = bench.bring("a.mp4")
        damaged = bench.spool.path(str(bench.clip("a.mp4").ciphertext_sha256))
        data = damaged.read_bytes()
        bench.server.failures[clip_id] = SpoolDamagedError("other bytes", hint="look")
        await asyncio.sleep(1)
        assert bench.clip("a.mp4").state is State.FOUND
        (name,) = bench.in_spool()
        assert name == f"{clip_id}-{damaged.stem}.damaged"
        assert damaged.with_name(name).read_bytes() == data
        bench.server.failures.clear()
        bench.read("a.mp4")
        await asyncio.sleep(1)
        assert bench.clip("a.mp4").state is State.ACKNOWLEDGED
        assert bench.in_spool() == set()

    play(tmp_path, script)
    assert said(log)["spool.damaged"] == 1


def test_a_spool_that_is_not_mounted_is_no_damage(tmp_path: Path) -> None:
    async def script(bench: Bench) -> None:
        clip_id = bench.bring("a.mp4")
        away = tmp_path / "away"
        bench.spool.folder.rename(away)
        bench.spool.folder.mkdir()
        bench.server.failures[clip_id] = SpoolDamagedError("it is gone", hint="look")
        await asyncio.sleep(60)
        assert bench.clip("a.mp4").state is State.UPLOADING
        (failing,) = bench.failing()
        assert "not the same folder as before" in failing.error.message
        bench.spool.folder.rmdir()
        away.rename(bench.spool.folder)
        bench.server.failures.clear()
        await asyncio.sleep(60)
        assert bench.clip("a.mp4").state is State.ACKNOWLEDGED
        assert bench.failing() == []

    play(tmp_path, script)


def test_clips_that_keep_failing_for_reasons_of_their_own_hold_up_no_others(
    tmp_path: Path,
) -> None:
    async def script(bench: Bench) -> None:
        for number in range(8 * 2 + 5):
            clip_id = bench.bring(f"{number}.mp4")
            bench.server.answers[clip_id] = TransientError("not this one", needs_operator=True)
        await asyncio.sleep(HOUR)
        bench.bring("z.mp4")
        await asyncio.sleep(HOUR)
        assert bench.clip("z.mp4").state is State.ACKNOWLEDGED

    play(tmp_path, script, concurrency=2)

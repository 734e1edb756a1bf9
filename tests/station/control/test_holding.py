"""Uploads that are held, or begun again, at the worst moments."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

from dockd.base.clock import Clock
from dockd.base.errors import TransientError, UnforeseenError
from dockd.evidence.keys import SigningKey
from dockd.evidence.statements import JournalHead, sign
from dockd.host.files import Files
from dockd.station.config import TargetConfig
from dockd.station.control.metrics import Metrics
from dockd.station.control.troubles import of_incident
from dockd.station.ledger.ingests import SealedFacts
from dockd.station.ledger.ledger import Ledger
from dockd.station.ledger.uploads import Uploads
from dockd.station.lifecycle import State
from dockd.station.model import Camera, Clip, FileStat, FoundFile, Match
from dockd.station.pipeline.activity import Activity
from dockd.station.pipeline.confirming import Confirmations
from dockd.station.pipeline.upload import Uploader
from dockd.station.reports import Reports
from dockd.station.spool import Spool
from dockd.station.targets import NotStored, ReceiptAnswer, Received, Sealed
from dockd.station.targets.health import TargetHealth
from tests.support import CIPHERTEXT, PLAINTEXT, Handled, make_answer, make_manifest, make_receipt

PATIENCE = 20
CAMERA = Camera("generic", "CAM-0001")


class SlowUploads(Uploads):
    """Uploads whose acknowledging takes until a test lets it go on."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger.database, ledger.clips)
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def acknowledge(self, clip: Clip, receipt: str, answer: str) -> None:
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        super().acknowledge(clip, receipt, answer)


class Server:
    """A target that takes what it is given, and gives receipts once it has it."""

    gives_receipts = True
    health: TargetHealth

    def __init__(self, key: SigningKey) -> None:
        self.key = key
        self.has = False
        self.mistaken = False
        self.receipt_token = ""
        self.uploads: list[str | None] = []
        self.sending, self.sent = asyncio.Event(), asyncio.Event()
        self.asked = 0

    async def receipt(self, sealed: Sealed, nonce: str) -> ReceiptAnswer:
        self.asked += 1
        if self.mistaken:
            raise KeyError("Retry-After")
        if not self.has:
            return NotStored()
        return Received(self.receipt_token, make_answer(self.key, self.receipt_token, nonce))

    async def anchor(self, kid: str, nonce: str) -> str:
        raise TransientError("nobody asks")

    async def upload(
        self,
        sealed: Sealed,
        url: str | None,
        remember: Callable[[str], Awaitable[None]],
        progress: Callable[[int], None],
    ) -> None:
        self.uploads.append(url)
        if url is None:
            await remember(f"https://evidence.example/files/{len(self.uploads)}")
        self.sending.set()
        await self.sent.wait()
        self.has = True

    async def aclose(self) -> None:
        """Nothing to close."""


class Bench:
    """One spooled clip, a ledger that can be slow, and an uploader."""

    def __init__(self, folder: Path) -> None:
        clock, station, receiver = Clock(), SigningKey.generate(), SigningKey.generate()
        self.ledger = Ledger(folder / "ledger.db", clock)
        self.ledger.uploads = self.uploads = SlowUploads(self.ledger)
        self.server = Server(receiver)
        self.activity = Activity(clock, Metrics())
        self.server.health = TargetHealth(
            "https://evidence.example/", clock, self.activity.incidents
        )
        spool = Spool(folder / "spool", budget=2**30, reserve=0, files=Files(), clock=clock)
        spool.recover({})
        docking = self.ledger.dockings.begin(CAMERA, "bay 1")
        self.ledger.dockings.observe(
            CAMERA, docking, [FoundFile(b"a.mp4", 1000, 0, Match("video"))]
        )
        (clip,) = self.ledger.queries.clips()
        self.ledger.ingests.begin(clip, docking)
        manifests = []

        def signed(head: JournalHead) -> str:
            manifests.append(make_manifest(station, journal=head))
            return sign(manifests[0], station)

        facts = SealedFacts("", FileStat(1000, 0, 0, 0, 0), PLAINTEXT, CIPHERTEXT)
        self.ledger.ingests.spooled(clip, facts, signed(self.ledger.journal.head()))
        token = str(self.clip.manifest)
        self.server.receipt_token = sign(make_receipt(receiver, manifests[0], token), receiver)
        self.settled = asyncio.Event()
        self.uploader = Uploader(
            self.ledger,
            spool,
            self.server,
            clock,
            self.activity,
            config=TargetConfig(url="https://evidence.example/files/"),
            confirmations=Confirmations(self.server, [receiver.verify_key], clock, Reports()),
            reports=Handled(lambda _: self.settled.set()),
        )

    @property
    def clip(self) -> Clip:
        return self.ledger.queries.clip(1)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        running = asyncio.create_task(self.uploader.run())
        try:
            async with asyncio.timeout(PATIENCE):
                yield
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


def test_a_pause_in_the_middle_of_an_acknowledgement_leaves_it_whole(tmp_path: Path) -> None:
    async def run(bench: Bench) -> None:
        bench.server.has = True
        bench.uploads.gate.clear()
        async with bench.running():
            await asyncio.to_thread(bench.uploads.entered.wait, PATIENCE)
            bench.uploader.hold()
            bench.uploads.gate.set()
            bench.uploader.release()
            await bench.settled.wait()

    bench = Bench(tmp_path)
    with closing(bench.ledger):
        asyncio.run(run(bench))
        assert bench.clip.state is State.ACKNOWLEDGED
        assert bench.server.asked == 1
        assert bench.activity.incidents.shown() == []


def test_what_nobody_foresaw_is_shown_with_its_clip_and_tried_again(tmp_path: Path) -> None:
    async def run(bench: Bench) -> None:
        bench.server.has, bench.server.mistaken = True, True
        async with bench.running():
            while not bench.activity.incidents.shown():  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
            (failing,) = bench.activity.incidents.shown()
            assert isinstance(failing.error, UnforeseenError)
            assert failing.fields["path"] == "a.mp4"
            assert of_incident(failing).needs_person
            bench.server.mistaken = False
            bench.uploader.wake()
            while bench.clip.state is not State.ACKNOWLEDGED:
                await bench.settled.wait()
                bench.settled.clear()

    bench = Bench(tmp_path)
    with closing(bench.ledger):
        asyncio.run(run(bench))
        assert bench.activity.incidents.shown() == []


def test_a_held_upload_goes_on_where_it_was_and_counts_no_failure(tmp_path: Path) -> None:
    async def run(bench: Bench) -> None:
        async with bench.running():
            await bench.server.sending.wait()
            bench.server.sending.clear()
            bench.uploader.hold()
            await asyncio.sleep(0)
            assert not bench.settled.is_set()
            bench.uploader.release()
            await bench.server.sending.wait()
            bench.server.sent.set()
            await bench.settled.wait()

    bench = Bench(tmp_path)
    with closing(bench.ledger):
        asyncio.run(run(bench))
        assert bench.server.uploads == [None, "https://evidence.example/files/1"]
        assert bench.clip.state is State.ACKNOWLEDGED
        assert bench.activity.incidents.shown() == []


def test_nothing_is_sent_while_uploads_are_held(tmp_path: Path) -> None:
    async def run(bench: Bench) -> None:
        bench.uploader.hold()
        async with bench.running():
            bench.uploader.wake()
            bench.uploader.look_again()
            await asyncio.sleep(0.05)
            assert bench.server.asked == 0
            assert bench.server.uploads == []
            bench.uploader.release()
            bench.server.sent.set()
            await bench.settled.wait()

    bench = Bench(tmp_path)
    with closing(bench.ledger):
        asyncio.run(run(bench))
        assert bench.clip.state is State.ACKNOWLEDGED


def test_an_upload_that_is_begun_anew_forgets_where_it_was(tmp_path: Path) -> None:
    async def run(bench: Bench) -> None:
        async with bench.running():
            await bench.server.sending.wait()
            bench.server.sending.clear()
            bench.ledger.orders.restart_upload(bench.clip, 7)
            bench.uploader.start_anew(bench.clip)
            await bench.server.sending.wait()
            bench.server.sent.set()
            await bench.settled.wait()

    bench = Bench(tmp_path)
    with closing(bench.ledger):
        asyncio.run(run(bench))
        assert bench.server.uploads == [None, None]
        assert bench.clip.state is State.ACKNOWLEDGED

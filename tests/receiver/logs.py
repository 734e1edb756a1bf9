"""The statement log as its readers see it, and one without a receiver around it."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from dockd.base.clock import Clock
from dockd.base.incidents import Incidents
from dockd.base.randomness import Randomness
from dockd.evidence.keys import SigningKey
from dockd.evidence.log.checkpoint import SignedCheckpoint
from dockd.evidence.log.merkle import consistency_proof, root_hash, verify_consistency
from dockd.evidence.log.note import NoteKey, NoteSigner
from dockd.evidence.log.tiles import WIDTH, TileHashes, bundle_of, split_entries
from dockd.evidence.statements import Content, Manifest, Signer, sign, statement_sha256
from dockd.host.files import Files
from dockd.receiver.core.statement_log import StatementLog
from dockd.receiver.core.workers import Workers
from dockd.receiver.index.positions import Positions
from dockd.receiver.store.log_folder import LogFolder
from tests.support import make_manifest, make_receipt

POLL_SECONDS = 0.01


def entries_in(folder: Path, size: int) -> list[bytes]:
    """All entries of a log in a folder."""
    fetch = LogFolder(folder, Files()).fetch
    found: list[bytes] = []
    for index in range(-(-size // WIDTH)):
        bundle = bundle_of(index, size)
        found += split_entries(bundle, fetch(bundle))
    return found


def read_checkpoint(data: bytes, *keys: NoteKey) -> SignedCheckpoint:
    return SignedCheckpoint.verify(data, keys)


def check_continues(folder: Path, old: SignedCheckpoint, new: SignedCheckpoint) -> None:
    """Check that a newer checkpoint of a log in a folder continues an older one."""
    hashes = TileHashes(new.checkpoint.size, LogFolder(folder, Files()).fetch)
    assert root_hash(new.checkpoint.size, hashes) == new.checkpoint.root
    verify_consistency(
        old.checkpoint.size,
        old.checkpoint.root,
        new.checkpoint.size,
        new.checkpoint.root,
        consistency_proof(old.checkpoint.size, new.checkpoint.size, hashes),
    )


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds that threads bring about."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(POLL_SECONDS)


async def proof_of(client: httpx.AsyncClient, clip_id: str, **headers: str) -> str:
    """Ask for a proof until there is one."""
    async with asyncio.timeout(60):
        while True:
            response = await client.get(f"/receipts/{clip_id}/proof", headers=headers)
            if response.status_code == 200:
                return response.text
            assert response.status_code == 202, response.text
            await asyncio.sleep(POLL_SECONDS)


class FastClock(Clock):
    """A clock whose pauses are over at once."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Receipts:
    """Stands for a store: receipts and their manifests, in memory."""

    def __init__(self) -> None:
        self.station, self.key = SigningKey.generate(), SigningKey.generate()
        self.tokens: dict[str, tuple[Manifest, str]] = {}
        """A manifest and its receipt, by the manifest's SHA-256."""

    def copy(self) -> "Receipts":
        """The same receipts, to which others can be added."""
        copied = Receipts()
        copied.station, copied.key, copied.tokens = self.station, self.key, dict(self.tokens)
        return copied

    def give(self, number: int) -> tuple[str, str]:
        """Give a receipt; returns its manifest's SHA-256, and the clip id."""
        manifest = make_manifest(
            self.station, plaintext=Content(sha256=f"{number:064x}", size=number)
        )
        token = sign(manifest, self.station)
        sha256 = statement_sha256(token)
        receipt = sign(make_receipt(self.key, manifest, token), self.key)
        self.tokens[sha256] = manifest, receipt
        return sha256, manifest.clip_id

    def receipts(self, clip_id: str) -> Iterator[tuple[Signer, str]]:
        for manifest, receipt in self.tokens.values():
            if manifest.clip_id == clip_id:
                yield manifest.station, receipt

    def manifests(self) -> Iterator[tuple[Manifest, str]]:
        for sha256, (manifest, _) in self.tokens.items():
            yield manifest, sha256


class Desk:
    """A statement log on a disk, without the receiver."""

    def __init__(
        self,
        folder: Path,
        receipts: Receipts,
        files: Files | None = None,
        positions: type[Positions] = Positions,
    ) -> None:
        self.folder, self.given = folder, receipts
        self.positions = positions(folder / "log.db", receipts.manifests, Randomness())
        clock = FastClock()
        self.workers = Workers(1, clock)
        self.log = StatementLog(
            LogFolder(folder / "log", files or Files()),
            self.positions,
            receipts,  # type: ignore[arg-type]  # it has what the log asks of a store
            NoteSigner("evidence-1/log", receipts.key.private),
            [],
            self.workers,
            clock,
            Incidents(clock),
        )

    def open(self) -> None:
        self.log.open()

    def enter(self, *numbers: int) -> None:
        """Give receipts and have them entered."""
        for number in numbers:
            self.log.enter(*self.expect(number))

    def expect(self, number: int) -> tuple[str, str]:
        sha256, clip_id = self.given.give(number)
        self.log.expect(sha256, clip_id)
        return sha256, clip_id

    async def work(self, size: int) -> None:
        """Run until the log is as large as said, and nothing is expected any more."""
        running = asyncio.create_task(self.log.run())
        try:
            await until(lambda: self.log.size >= size and not self.positions.expected("", 1))
        finally:
            running.cancel()
            await self.log.close()

    def close(self) -> None:
        self.workers.close()
        self.positions.close()

    @property
    def key(self) -> NoteKey:
        return NoteKey("evidence-1/log", self.given.key.verify_key.public.public_bytes_raw())

    @property
    def newest(self) -> SignedCheckpoint:
        return read_checkpoint((self.folder / "log" / "checkpoint").read_bytes(), self.key)

    def entries(self) -> list[bytes]:
        return entries_in(self.folder / "log", self.newest.checkpoint.size)

    def check(self) -> None:
        """Check that every receipt given is in the log exactly once, and is found there."""
        receipts = sorted(receipt.encode() for _, receipt in self.given.tokens.values())
        entries = self.entries()
        assert sorted(entries) == receipts
        for at, entry in enumerate(entries):
            assert self.positions.position(statement_sha256(entry.decode())) == at

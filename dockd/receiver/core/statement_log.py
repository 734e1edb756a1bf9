"""The statement log: every receipt is entered into one append-only Merkle log, in batches.

A receipt never waits for it. What is to be entered is durable before a receipt is signed, so a
crash at any step loses no entry; a checkpoint is signed when the tiles that it speaks of are
durable, and only after that does the index know the positions.
"""

import asyncio
import errno
from collections import deque
from collections.abc import Awaitable, Sequence
from functools import partial

from dockd.base.clock import Clock
from dockd.base.errors import StatementError, StatementLogError
from dockd.base.incidents import Incidents
from dockd.evidence.keys import VerifyKey
from dockd.evidence.log.checkpoint import Checkpoint, LogProof, SignedCheckpoint
from dockd.evidence.log.merkle import (
    EMPTY_ROOT,
    inclusion_proof,
    leaf_hash,
    root_hash,
    verify_inclusion,
)
from dockd.evidence.log.note import Note, NoteSigner
from dockd.evidence.log.tiles import (
    WIDTH,
    RightEdge,
    Tile,
    TileHashes,
    bundle_of,
    split_entries,
)
from dockd.evidence.log.verify import verify_checkpoint
from dockd.evidence.statements import read_unverified_receipt, statement_sha256
from dockd.receiver import events
from dockd.receiver.core.workers import Workers
from dockd.receiver.index.positions import Expected, Positions
from dockd.receiver.store.protocol import LogFiles, Store

BATCH_SECONDS = 0.2
"""How long receipts are gathered for one checkpoint."""
_BATCH = 1000
RETRY_SECONDS = 5.0
"""The pause after a failure."""
_CLOSE_SECONDS = 2.0


class StatementLog:
    """The log of one receiver; ``run`` is the only one that appends."""

    def __init__(
        self,
        files: LogFiles,
        positions: Positions,
        store: Store,
        signer: NoteSigner,
        earlier: Sequence[VerifyKey],
        workers: Workers,
        clock: Clock,
        incidents: Incidents,
    ) -> None:
        """Know nothing of it yet; see ``open``.

        Args:
            files: where tiles and checkpoint lie.
            positions: the index of its entries.
            store: has the receipts.
            signer: signs checkpoints, in the name of the log if that begins now.
            earlier: the keys that checkpoints were signed with before.
            workers: the threads.
            clock: paces the batches.
            incidents: whether it can be extended.
        """
        self._files = files
        self._positions = positions
        self._store = store
        self._signer = signer
        self._earlier = earlier
        self._workers = workers
        self._clock = clock
        self._incidents = incidents.scope("statement-log")
        self._waiting: deque[Expected] = deque()
        self._more = asyncio.Event()
        self._batch: asyncio.Future[None] | None = None
        self._backlog: str | None = ""
        """How far what earlier runs left has been read; None: to its end."""
        self._edge: RightEdge | None = None
        """None: it has to be read again, as appending failed."""
        self._newest: SignedCheckpoint | None = None
        self._is_begun = False
        """Whether a checkpoint was published, be it of no entries."""

    def open(self) -> None:
        """Read how the log stands, if there is one; blocks, and writes nothing to the log.

        Raises:
            StatementLogError: it is not what this receiver has signed, or was rolled back.
            OSError: the disk failed.
        """
        signed = self._files.checkpoint()
        self._newest = self._begun() if signed is None else self._verified(signed)
        self._is_begun = signed is not None
        checkpoint = self._newest.checkpoint
        if self._positions.size > checkpoint.size:
            raise self._rolled_back(checkpoint.size)
        try:
            self._check_root(checkpoint)
            self._edge = RightEdge(checkpoint.size, self._files.fetch)
            self._catch_up(checkpoint.size)
        except (StatementLogError, FileNotFoundError) as error:
            raise StatementLogError(
                f"its tiles are damaged: {error}",
                hint="restore the store's log folder from its newest backup; see docs/operate.md",
            ) from error
        self._more.set()

    def _check_root(self, checkpoint: Checkpoint) -> None:
        hashes = TileHashes(checkpoint.size, self._files.fetch)
        if root_hash(checkpoint.size, hashes) != checkpoint.root:
            raise StatementLogError("they lead to another root than its checkpoint says")

    @property
    def checkpoint(self) -> bytes:
        """The newest signed checkpoint."""
        assert self._newest is not None
        return str(self._newest.note).encode()

    @property
    def origin(self) -> str:
        """The log's name."""
        assert self._newest is not None
        return self._newest.checkpoint.origin

    @property
    def size(self) -> int:
        """The number of entries."""
        assert self._newest is not None
        return self._newest.checkpoint.size

    def fetch(self, tile: Tile) -> Awaitable[bytes]:
        """Return what a tile holds.

        Raises:
            OSError: the disk failed, or it is not kept.
        """
        return self._workers.ask(self._files.fetch, tile)

    def expect(self, manifest_sha256: str, clip_id: str) -> None:
        """Note durably that a receipt is about to be signed; blocks.

        Raises:
            OSError: the disk failed.
        """
        self._positions.expect(manifest_sha256, clip_id)

    def enter(self, manifest_sha256: str, clip_id: str) -> None:
        """Enter the receipt for a manifest soon: it is stored."""
        self._waiting.append((manifest_sha256, clip_id))
        self._more.set()

    def drop(self, manifest_sha256: str, clip_id: str) -> None:
        """Expect no receipt of a refused upload, unless an earlier one has its receipt; blocks.

        Raises:
            OSError: the disk failed.
        """
        if self._receipt(manifest_sha256, clip_id) is None:
            self._positions.settle([manifest_sha256])

    async def run(self) -> None:
        """Enter what is to be entered, until cancelled."""
        while True:
            await self._more.wait()
            await self._clock.sleep(BATCH_SECONDS)
            self._more.clear()
            with self._incidents.fence(events.receiver_log_failed()):
                while self._unentered:
                    self._batch = self._workers.log(self._append_batch)
                    await asyncio.shield(self._batch)
            if self._unentered:
                await self._clock.sleep(RETRY_SECONDS)
                self._more.set()

    @property
    def _unentered(self) -> bool:
        return bool(self._waiting) or self._backlog is not None or not self._is_begun

    async def close(self) -> None:
        """Let the batch that is being appended end, within a few seconds."""
        if self._batch is not None:
            await asyncio.wait({self._batch}, timeout=_CLOSE_SECONDS)
            if self._batch.done() and not self._batch.cancelled():
                self._batch.exception()  # what has failed is entered after the next start

    async def proof(self, receipt: str) -> str | None:
        """Return the proof that a receipt is in the log; None if it isn't yet.

        Raises:
            OSError: the disk failed.
        """
        return await self._workers.ask(partial(self._proof, receipt))

    def _proof(self, receipt: str) -> str | None:
        assert self._newest is not None
        newest = self._newest
        position = self._positions.position(statement_sha256(receipt))
        if position is None or position >= newest.checkpoint.size:
            return None
        size, root = newest.checkpoint.size, newest.checkpoint.root
        try:
            hashes = inclusion_proof(position, size, TileHashes(size, self._files.fetch))
            verify_inclusion(leaf_hash(receipt.encode()), position, size, root, hashes)
        except StatementLogError as error:
            raise OSError(errno.EIO, f"the statement log is damaged: {error.detail}") from error
        return str(LogProof(position, tuple(hashes), str(newest.note).encode()))

    def _append_batch(self) -> None:
        """Append what waits, in one checkpoint; what can't be appended goes on waiting."""
        self._make_ready()
        taken = [self._waiting[at] for at in range(min(len(self._waiting), _BATCH))]
        receipts: dict[str, str] = {}
        """Each new receipt, and the manifest that it is for."""
        known: list[str] = []
        unreadable: dict[Expected, OSError] = {}
        for manifest_sha256, clip_id in taken:
            try:
                receipt = self._receipt(manifest_sha256, clip_id)
            except OSError as error:
                unreadable[manifest_sha256, clip_id] = error
                continue
            if receipt is None:
                continue
            if self._positions.position(statement_sha256(receipt)) is not None:
                known.append(manifest_sha256)
            else:
                receipts[receipt] = manifest_sha256
        self._positions.settle(known)
        if receipts:
            self._append(receipts)
        for _ in taken:
            self._waiting.popleft()
        self._waiting.extend(unreadable)
        if unreadable:
            raise next(iter(unreadable.values()))

    def _make_ready(self) -> None:
        if self._edge is None:
            self._reopen()
        if not self._is_begun:
            self._files.publish(self.checkpoint)
            self._is_begun = True
        if not self._waiting and self._backlog is not None:
            page = self._positions.expected(self._backlog, _BATCH)
            self._waiting.extend(page)
            self._backlog = page[-1][0] if page else None

    def _append(self, receipts: dict[str, str]) -> None:
        edge, self._edge = self._edge, None
        assert edge is not None
        first = edge.size
        tiles = edge.append([receipt.encode() for receipt in receipts])
        self._files.write(tiles)
        root = root_hash(edge.size, TileHashes(edge.size, self._files.fetch))
        newest = self._signed(Checkpoint(self.origin, edge.size, root))
        self._files.publish(str(newest.note).encode())
        self._newest = newest
        digests = [statement_sha256(receipt) for receipt in receipts]
        self._positions.enter(digests, first, receipts.values())
        self._files.tidy(tiles)
        self._edge = edge

    def _reopen(self) -> None:
        """Read the log again after a failure, of which a checkpoint may have been published."""
        assert self._newest is not None
        signed = self._files.checkpoint()
        newest = self._begun() if signed is None else self._verified(signed)
        size = newest.checkpoint.size
        if size < self.size:
            raise self._rolled_back(size)
        self._newest = newest
        self._catch_up(size)
        self._edge = RightEdge(size, self._files.fetch)

    def _catch_up(self, size: int) -> None:
        """Note the positions of entries that the index doesn't know yet."""
        known = self._positions.size
        while known < size:
            bundle = bundle_of(known // WIDTH, size)
            entries = split_entries(bundle, self._files.fetch(bundle))[known % WIDTH :]
            # What is expected stays so: a receipt may have been renewed since.
            digests = [statement_sha256(entry.decode("ascii", "replace")) for entry in entries]
            self._positions.enter(digests, known)
            known += len(entries)

    def _receipt(self, manifest_sha256: str, clip_id: str) -> str | None:
        for _, token in self._store.receipts(clip_id):
            if _manifest_of(token) == manifest_sha256:
                return token
        return None

    def _begun(self) -> SignedCheckpoint:
        """Return the checkpoint of the log without entries."""
        return self._signed(Checkpoint(self._signer.name, 0, EMPTY_ROOT))

    def _signed(self, checkpoint: Checkpoint) -> SignedCheckpoint:
        signer = NoteSigner(checkpoint.origin, self._signer.key)
        return SignedCheckpoint(checkpoint, Note(checkpoint.text, (signer.sign(checkpoint.text),)))

    def _verified(self, signed: bytes) -> SignedCheckpoint:
        """Check a checkpoint by this receiver's keys, in whatever name the log was begun."""
        own = VerifyKey.of(self._signer.key.public_key())
        try:
            return verify_checkpoint(signed, [own, *self._earlier])
        except StatementLogError as error:
            raise StatementLogError(
                f"its checkpoint: {error.detail}",
                hint="list the receiver's former public keys in receiver.earlier_keys",
            ) from error

    def _rolled_back(self, size: int) -> StatementLogError:
        return StatementLogError(
            f"it has {size} entries, and had {self._positions.size}: it was rolled back",
            hint="bring its newest state back; see docs/operate.md",
        )


def _manifest_of(token: str) -> str:
    try:
        return read_unverified_receipt(token).manifest_sha256
    except StatementError:
        return ""

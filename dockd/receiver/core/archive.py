"""Where what was verified goes, and what is signed and entered of it."""

from dataclasses import dataclass

from dockd.evidence.statements import Manifest, statement_sha256
from dockd.receiver.core.statement_log import StatementLog
from dockd.receiver.index.anchors import Anchors
from dockd.receiver.store.protocol import Sign, Store


@dataclass(frozen=True)
class Archive:
    """A receiver's store, what it signs, its index and its statement log."""

    store: Store
    sign: Sign
    anchors: Anchors
    log: StatementLog

    def admit(self, manifest: Manifest, token: str) -> None:
        """Make durable what has to be before a manifest's receipt is signed; blocks.

        Raises:
            HistoryForkedError: it contradicts what its station signed before.
            OSError: the disk failed.
        """
        self.anchors.record(manifest, token)
        self.log.expect(statement_sha256(token), manifest.clip_id)

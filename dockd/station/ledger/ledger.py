"""The station's records: cameras, clips, receipts and the journal, in one SQLite database.

Every change of a clip's state is one transaction that also appends to the journal; all of
them go through ``clips``. Methods block and may be called from any thread.
"""

from collections.abc import Callable
from pathlib import Path

from dockd.base.clock import Clock
from dockd.base.randomness import Randomness
from dockd.station.ledger.clips import Clips
from dockd.station.ledger.database import Database
from dockd.station.ledger.dockings import Dockings
from dockd.station.ledger.ingests import Ingests
from dockd.station.ledger.journal import Journal
from dockd.station.ledger.orders import Orders
from dockd.station.ledger.queries import Queries
from dockd.station.ledger.uploads import Uploads
from dockd.station.ledger.wipes import Wipes


class Ledger:
    """The ledger of one station, composed of its queries and its changes."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        randomness: Randomness | None = None,
        *,
        read_only: bool = False,
        database: Callable[..., Database] = Database,
    ) -> None:
        """Open it, creating or migrating it as needed.

        Args:
            path: the file.
            clock: dates journal entries.
            randomness: makes the numbers of wipes.
            read_only: change nothing; the file must exist.
            database: opens the file: the seam at which tests inject faults.

        Raises:
            LedgerError: it can't be opened; LedgerVersionError: a newer dockd wrote it.
        """
        self.database = db = database(path, read_only=read_only)
        self.journal = Journal(db, clock)
        self.queries = Queries(db)
        self.clips = Clips(db, self.journal, clock)
        self.dockings = Dockings(db, self.journal, self.queries, self.clips, clock)
        self.ingests = Ingests(db, self.journal, self.queries, self.clips, clock)
        self.uploads = Uploads(db, self.clips)
        self.wipes = Wipes(db, self.journal, self.queries, self.clips, randomness or Randomness())
        self.orders = Orders(db, self.journal, self.queries, self.clips)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

"""Reconciles ledger and spool at the start, after a crash or the loss of one of them."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice

from dockd.base.clock import Clock, timestamp
from dockd.base.errors import SpoolError, SpoolUnknownError, StatementError
from dockd.base.incidents import Incidents
from dockd.base.threads import in_thread
from dockd.evidence.keys import SigningKey, VerifyKey
from dockd.evidence.statements import (
    Content,
    Manifest,
    Signer,
    is_sealed_later,
    read_unverified_manifest,
    sign,
    verify_manifest,
)
from dockd.station import events
from dockd.station.ledger.ledger import Ledger
from dockd.station.model import Clip
from dockd.station.spool import Spool

_LOOK_AGAIN = 60.0
_NAMED = 20


def recover(ledger: Ledger, spool: Spool, station: str, keys: Sequence[VerifyKey]) -> None:
    """Reconcile what the last run has left; blocks.

    Args:
        ledger: has the clips that should be in the spool.
        spool: has the ciphertexts that are.
        station: this station's name.
        keys: this station's key, and its earlier ones.

    Raises:
        LedgerError, SpoolError: one of them can't be used.
    """
    known = {key.kid: key for key in keys}
    clips = ledger.queries.in_spool()
    expected = {str(clip.ciphertext_sha256): int(clip.ciphertext_size or 0) for clip in clips}
    missing = spool.recover(expected, ledger.queries.is_delivered)
    troubles = _Troubles()
    for sha256, size in list(spool.unknown.items()):
        token = None
        with troubles.noted():
            token = spool.manifest(sha256)
        manifest = _manifest(token, Content(sha256=sha256, size=size), station, known)
        if token is not None and manifest is not None:
            clip = ledger.ingests.take_in(manifest, token)
            spool.know(sha256)
            _tell(clip)
    ledger.ingests.recover()
    for clip in clips:
        sha256 = str(clip.ciphertext_sha256)
        with troubles.noted():
            if sha256 in missing:
                spool.set_aside(sha256, str(clip.clip_id))
                what = "missing from the spool, or of another size"
                ledger.ingests.spool_lost(clip, "spool.damaged", what)
            elif clip.manifest is not None and spool.manifest(sha256) != clip.manifest:
                spool.keep_manifest(sha256, clip.manifest)
    troubles.tell()


def renew(
    ledger: Ledger, spool: Spool, key: SigningKey, now: datetime, *, synchronised: bool | None
) -> None:
    """Sign manifests of spooled clips again where they are no longer valid; blocks.

    These are the ones signed with another key than the current one: the receiver may no longer
    accept the old key, and a journal that was restored to an older state continues under a new
    one. And the ones dated into the future, but only by a clock that is synchronised: before a
    time service has set it, the clock may be years behind.

    Args:
        ledger: has the manifests.
        spool: has them beside its ciphertexts.
        key: the current key.
        now: the time.
        synchronised: whether a time service keeps the clock; None if that is unknown.

    Raises:
        LedgerError: it can't be used.
    """
    troubles = _Troubles()
    ledger.journal.last_anchor(key.kid)  # found now, so that no clip has to wait for it
    for clip in ledger.queries.in_spool():
        try:
            manifest = read_unverified_manifest(str(clip.manifest))
        except StatementError:
            continue  # reported by the journal's check
        is_early = synchronised is True and is_sealed_later(manifest, now)
        if manifest.station.kid == key.kid and not is_early:
            continue
        anchoring = ledger.journal.next_anchor(key.kid)
        changes: dict[str, object] = {
            "station": Signer(id=manifest.station.id, kid=key.kid),
            "journal": anchoring.head,
            "previous": anchoring.previous,
        }
        if is_early:
            changes |= {
                "sealed_at": timestamp(now),
                "clock": manifest.clock.model_copy(update={"synchronised": True}),
            }
        token = sign(manifest.model_copy(update=changes), key)
        ledger.ingests.renewed(clip, token)
        with troubles.noted():  # the next start puts it there
            spool.keep_manifest(str(clip.ciphertext_sha256), token)
    troubles.tell()


class _Troubles:
    """Errors of the spool's disk for single clips: logged once, and no reason not to start."""

    def __init__(self) -> None:
        self._first: SpoolError | None = None
        self._count = 0

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note and suppress errors of the spool."""
        try:
            yield
        except SpoolError as error:
            self._first = self._first or error
            self._count += 1

    def tell(self) -> None:
        """Log all of them in one line."""
        if self._first is not None:
            events.spool_failed().write(self._first, failures=self._count)


def _manifest(
    token: str | None, ciphertext: Content, station: str, keys: Mapping[str, VerifyKey]
) -> Manifest | None:
    """Return a manifest if this station has signed it for this ciphertext, else None."""
    if token is None:
        return None
    try:
        manifest = verify_manifest(token, keys)
    except StatementError:
        return None
    is_ours = (manifest.station.id, manifest.ciphertext) == (station, ciphertext)
    return manifest if is_ours else None


def _tell(clip: Clip) -> None:
    if not clip.present:
        events.clip_taken_in(**clip.about, clip_id=str(clip.clip_id), size=clip.size)


class Unknown:
    """The ciphertexts in the spool that the ledger doesn't know; reported until they are gone."""

    def __init__(self, spool: Spool, clock: Clock, incidents: Incidents) -> None:
        self._spool = spool
        self._clock = clock
        self._incidents = incidents.scope("unknown")

    async def run(self) -> None:
        """Report them until there are none."""
        while unknown := await in_thread(self._spool.still_unknown):
            error = SpoolUnknownError(
                f"{len(unknown)} files in {self._spool.folder}",
                hint="keep them, each may be the only copy of a clip; see docs/operate.md",
            )
            names = [f"{sha256}.age" for sha256 in islice(sorted(unknown), _NAMED)]
            size = sum(unknown.values())
            held = events.spool_unknown(files=len(unknown), size=size, names=names)
            self._incidents.failed(held, error)
            await self._clock.sleep(_LOOK_AGAIN)
        self._incidents.recovered(events.spool_unknown)

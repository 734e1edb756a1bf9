"""Brings ledger and spool back together, after whatever ended the last run, or lost one of them."""

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
    """Take up what the last run has left; blocks.

    Args:
        ledger: knows what should be in the spool.
        spool: has what is.
        station: this station's name.
        keys: this station's key, and those that it had before.

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
    """Sign manifests of what waits in the spool again, where they are no longer valid; blocks.

    Those that another key than today's has signed: whatever made an operator give the station a
    new key, the receiver may take the old one's word no more, and a journal that was set back
    goes on under a key of its own. And those that a clock has dated into the future, if the one
    that says so is known to be right: before a time service has set it, it may be years behind.

    Args:
        ledger: has the manifests.
        spool: has them beside its ciphertexts.
        key: today's key.
        now: the time.
        synchronised: whether a time service keeps that right; None where it can't be told.

    Raises:
        LedgerError: it can't be used.
    """
    troubles = _Troubles()
    ledger.journal.last_anchor(key.kid)  # found now, rather than while clips wait for it
    for clip in ledger.queries.in_spool():
        try:
            manifest = read_unverified_manifest(str(clip.manifest))
        except StatementError:
            continue  # the journal's check tells of it
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
    """What the spool's disk did not do for single clips: told, and no reason not to start."""

    def __init__(self) -> None:
        self._first: SpoolError | None = None
        self._count = 0

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Let no trouble of the spool out."""
        try:
            yield
        except SpoolError as error:
            self._first = self._first or error
            self._count += 1

    def tell(self) -> None:
        """Tell of all of it at once."""
        if self._first is not None:
            events.spool_failed().write(self._first, failures=self._count)


def _manifest(
    token: str | None, ciphertext: Content, station: str, keys: Mapping[str, VerifyKey]
) -> Manifest | None:
    """Return a manifest if this station has signed it, for this ciphertext."""
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
    """The ciphertexts in the spool that the ledger doesn't know, told until they are gone."""

    def __init__(self, spool: Spool, clock: Clock, incidents: Incidents) -> None:
        self._spool = spool
        self._clock = clock
        self._incidents = incidents.scope("unknown")

    async def run(self) -> None:
        """Look after them until there are none."""
        while unknown := await in_thread(self._spool.still_unknown):
            error = SpoolUnknownError(
                f"{len(unknown)} files in {self._spool.folder}",
                hint="keep them, each may be the only copy of a clip; docs/operate.md says more",
            )
            names = [f"{sha256}.age" for sha256 in islice(sorted(unknown), _NAMED)]
            size = sum(unknown.values())
            held = events.spool_unknown(files=len(unknown), size=size, names=names)
            self._incidents.failed(held, error)
            await self._clock.sleep(_LOOK_AGAIN)
        self._incidents.recovered(events.spool_unknown)

"""What an earlier run of the receiver left unfinished, however it ended."""

from dockd.base.errors import ManifestRefusedError
from dockd.evidence.statements import read_unverified_manifest
from dockd.receiver import events
from dockd.receiver.core.stations import Stations
from dockd.receiver.core.upload import Upload
from dockd.receiver.store.protocol import Record, Store


def recover(store: Store, stations: Stations) -> list[Upload]:
    """Return the uploads that continue, some of them complete, and remove the rest.

    Raises:
        OSError: the disk fails altogether; a failure of a single upload is logged.
    """
    records, junk = store.incoming.load()
    uploads = []
    for record in records:
        try:
            upload = _pick_up(record, store, stations)
        except OSError as error:
            events.receiver_leftover(file=store.incoming.file(record.id), detail=str(error))
            continue
        if upload is not None:
            uploads.append(upload)
    complete = sum(upload.complete for upload in uploads)
    events.receiver_recovered(unfinished=len(uploads) - complete, complete=complete, junk=junk)
    return uploads


def _pick_up(record: Record, store: Store, stations: Stations) -> Upload | None:
    try:
        manifest = read_unverified_manifest(record.manifest_token)
        if store.take_back(record, manifest):
            return None
        # A station may have been removed since.
        stations.verify(record.manifest_token)
    except ManifestRefusedError as error:
        events.receiver_upload_refused(error, upload=record.id, clip_id="", station="")
        store.incoming.discard(record.id)
        return None
    offset = store.incoming.offset(record.id)
    if offset is None or offset > manifest.ciphertext.size:
        store.incoming.discard(record.id)
        return None
    return Upload(record, manifest, offset, store.incoming.touched(record.id))

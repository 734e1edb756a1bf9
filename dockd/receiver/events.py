"""What the receiver says in its log, see dockd.base.log_events."""

from typing import TypedDict, Unpack

from dockd.base.log_events import ending, error_event, event, failure


class UploadFields(TypedDict):
    """What is said of an upload."""

    upload: str
    clip_id: str
    station: str


@event("The receiver accepts uploads.")
def receiver_started(*, version: str, address: str) -> None: ...


@event(
    "The receiver serves plain HTTP on an address that other machines may reach.", level="warning"
)
def receiver_unencrypted(*, address: str, hint: str) -> None: ...


@ending("The store's disk has space again.")
def receiver_room_again() -> None: ...


@failure(
    "The store's disk has no space left to reserve; uploads are refused.",
    ending=receiver_room_again,
)
def receiver_room_short() -> None: ...


@ending("A station's requests are accepted again after some were refused.")
def receiver_taken(*, code: str, station: str) -> None: ...


@failure(
    "A request was refused; of each kind and station, or address where the station is "
    "unknown, the first is logged at once and further ones at growing intervals. "
    "`forwarded` is what the request's headers claim, unverified.",
    level="warning",
    ending=receiver_taken,
)
def receiver_refused(
    *, code: str, status: int, station: str, address: str, forwarded: str
) -> None: ...


@event("The receiver has stopped.")
def receiver_stopped() -> None: ...


@event(
    "The store's disk has kept the receiver from stopping for `seconds`; it exits as in a "
    "crash, and the next start resumes.",
    level="warning",
)
def receiver_cut_short(*, seconds: float) -> None: ...


@error_event("The receiver can't continue.")
def receiver_failed() -> None: ...


@event("Uploads that an earlier run left unfinished were resumed.")
def receiver_recovered(*, unfinished: int, complete: int, junk: int) -> None: ...


@event("A station began an upload.")
def receiver_upload_created(*, size: int, **upload: Unpack[UploadFields]) -> None: ...


@event("An unfinished upload expired and was removed.", level="warning")
def receiver_upload_expired(*, offset: int, **upload: Unpack[UploadFields]) -> None: ...


@error_event("An upload doesn't match its manifest; it was removed, and no receipt issued.")
def receiver_upload_refused(**upload: Unpack[UploadFields]) -> None: ...


@error_event(
    "An upload could not be read back from the disk for some time; it was set aside, and "
    "the station uploads it again."
)
def receiver_upload_unreadable(**upload: Unpack[UploadFields]) -> None: ...


@event("A clip was read back from the disk and acknowledged.")
def receiver_clip_stored(*, size: int, sha256: str, **upload: Unpack[UploadFields]) -> None: ...


@event("An upload completed that was stored already, and the stored copy is intact.")
def receiver_clip_known(**upload: Unpack[UploadFields]) -> None: ...


@event(
    "A stored copy had a receipt that no station accepts: damaged, or signed while the "
    "receiver's clock was wrong. The copy was read back and has a new one; the old one is "
    "kept beside it.",
    level="warning",
)
def receiver_receipt_renewed(*, clip_id: str, station: str, file: str) -> None: ...


@event(
    "The database of stations' anchors is damaged; it is set aside, and rebuilt from the "
    "stored manifests.",
    level="error",
)
def receiver_anchors_damaged(*, file: str, detail: str) -> None: ...


@event(
    "Stations' anchors are being read from the stored manifests, before uploads are "
    "accepted; logged every minute with how many were read."
)
def receiver_anchors_rebuilding(*, manifests: int) -> None: ...


@event(
    "Stations' anchors were read from the stored manifests. `unreadable` ones are read "
    "again at the next start."
)
def receiver_anchors_rebuilt(*, manifests: int, unreadable: int) -> None: ...


@event(
    "Stored manifests signed by one station's key contradict each other: its ledger was "
    "rolled back, or two stations used the key.",
    level="error",
)
def receiver_history_forked(*, station: str, kid: str, seq: int, hint: str) -> None: ...


@event(
    "A stored copy is not what the receiver has signed for. It counts as not stored; when "
    "it is uploaded again, the damaged copy is set aside.",
    level="error",
)
def receiver_copy_damaged(*, clip_id: str, file: str, detail: str, hint: str) -> None: ...


@event(
    "A copy that counted as damaged was read back and is intact; it counts as stored again.",
    level="warning",
)
def receiver_copy_restored(*, clip_id: str, file: str) -> None: ...


@event(
    "A file in the store's incoming folder is not the receiver's, or its disk returns an "
    "error; it is left there.",
    level="warning",
)
def receiver_leftover(*, file: str, detail: str) -> None: ...


@ending("The store's disk works again.")
def receiver_store_recovered() -> None: ...


@failure("The store's disk returned an error; stations retry.", ending=receiver_store_recovered)
def receiver_store_failed() -> None: ...


@event(
    "The index of the statement log is damaged; it is set aside, and rebuilt from the log and"
    " the store.",
    level="error",
)
def receiver_positions_damaged(*, file: str, detail: str) -> None: ...


@ending("The statement log is extended again.")
def receiver_log_recovered() -> None: ...


@failure(
    "The statement log can't be extended; receipts are issued all the same, and entered later.",
    ending=receiver_log_recovered,
)
def receiver_log_failed() -> None: ...

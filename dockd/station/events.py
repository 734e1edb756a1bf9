"""What the station says in its log, see dockd.base.log_events."""

from collections.abc import Sequence
from typing import TypedDict, Unpack

from dockd.base.log_events import ending, error_event, event, failure


class ClipFields(TypedDict):
    """What identifies a clip."""

    camera: str
    clip: int
    path: str


class SealedFields(ClipFields):
    """What identifies a clip that was read."""

    clip_id: str


# The daemon


@event("The daemon is running.")
def daemon_started(*, version: str, station: str, target: str) -> None: ...


@event("Shutting down.")
def daemon_stopping(*, signal: str) -> None: ...


@event("The daemon has stopped cleanly.")
def daemon_stopped() -> None: ...


@error_event("The daemon can't continue.")
def daemon_failed() -> None: ...


@event(
    "A disk has kept the daemon from stopping or reloading for `seconds`; it exits as in a "
    "crash, and the next start resumes.",
    level="warning",
)
def daemon_cut_short(*, seconds: float) -> None: ...


@event("A changed configuration is in effect.")
def config_reloaded() -> None: ...


@error_event("A changed configuration is invalid; the old one stays in effect.")
def config_refused() -> None: ...


@failure(
    "The journal's hash chain doesn't verify: entries were edited, removed or inserted. "
    "Work continues; the chain heads in the receiver's manifests show what the journal was."
)
def journal_broken() -> None: ...


@ending("The journal's chain was verified after all.")
def journal_readable() -> None: ...


@failure(
    "The ledger can't be read, so the journal's chain is not verified yet; no sign of tampering.",
    ending=journal_readable,
)
def journal_unreadable() -> None: ...


@ending("The journal continues from the receiver's anchor.")
def journal_agrees() -> None: ...


@failure(
    "The receiver knows an entry of this station's journal that is missing or different "
    "here. Wipes are held until an operator has decided; the rest continues.",
    ending=journal_agrees,
)
def journal_forked() -> None: ...


@failure(
    "The receiver's anchor of this station's journal is unavailable or invalid; wipes wait for it.",
    level="warning",
    ending=journal_agrees,
)
def journal_unwitnessed() -> None: ...


# People's orders, and the API that takes them


@event(
    "Resync requested: `cameras` cameras rescanned, `clips` clips requeued, `refused` clips"
    " not requeued."
)
def order_resync(
    *,
    uid: int,
    camera: str | None = None,
    clip: int | None = None,
    failed: bool,
    reupload: bool,
    cameras: int,
    clips: int,
    refused: int,
) -> None: ...


@event("Uploads or wipes are paused by an operator; repeated at each start.", level="warning")
def order_pause(*, what: str, reason: str, until: str | None = None, uid: int) -> None: ...


@event("Uploads or wipes are resumed by an operator.")
def order_resume(*, what: str, uid: int) -> None: ...


@event("A pause of uploads or wipes has expired.")
def pause_expired(*, what: str) -> None: ...


@ending("Expired pauses can be deleted again.")
def pause_recovered() -> None: ...


@failure(
    "A pause has expired and is no longer in effect, but could not be deleted; retried.",
    level="warning",
    ending=pause_recovered,
    shown=False,
)
def pause_failed() -> None: ...


@event("The control API or the bay display is listening.")
def control_listens(*, address: str) -> None: ...


@error_event("The control API or the bay display can't be served; work continues without it.")
def control_failed() -> None: ...


@ending("The status is up to date again.")
def status_fresh() -> None: ...


@failure(
    "The ledger can't be read for the status; its figures on clips are out of date.",
    level="warning",
    ending=status_fresh,
)
def status_stale() -> None: ...


# A camera


@event("A camera was docked.")
def camera_docked(*, camera: str, place: str, docking: int) -> None: ...


@event("A camera was undocked.")
def camera_undocked(*, camera: str, place: str, docking: int) -> None: ...


@event(
    "A scan of a camera found a change: clips on it, newly found, removed by others, and "
    "files that no rule of its profile selects or ignores."
)
def camera_looked_through(
    *, camera: str, clips: int, found: int, vanished: int, left_alone: int
) -> None: ...


@ending("A camera that had failed works again.")
def camera_recovered(*, camera: str) -> None: ...


@failure("A camera can't be processed; retried.", ending=camera_recovered)
def camera_failed(*, camera: str) -> None: ...


@failure(
    "Video, or much else, on a camera matches no rule of its profile and was not read: the "
    "camera is not safe to take.",
    level="warning",
    ending=camera_recovered,
)
def camera_files_left(*, camera: str, files: int, size: int, paths: Sequence[str]) -> None: ...


@event("Clips were removed from a camera and their absence verified.")
def camera_wiped(*, camera: str, clips: int, size: int) -> None: ...


@event("Nothing on a camera is pending: it is safe to take.")
def camera_safe(*, camera: str, place: str, docking: int) -> None: ...


@event(
    "Everything possible is done for a camera; some of its clips need operator action.",
    level="warning",
)
def camera_stuck(*, camera: str, place: str, docking: int, clips: int, hint: str) -> None: ...


@failure(
    "A file or folder of a camera can't be read; the rest of the camera is.",
    ending=camera_recovered,
)
def camera_folder_unreadable(*, camera: str, path: str) -> None: ...


@failure(
    "A device matches a profile, but is not accepted; it is left alone.", ending=camera_recovered
)
def camera_refused(*, place: str, profile: str, serial: str) -> None: ...


@event("A volume of a camera has no supported file system.", level="warning")
def camera_volume_unusable(*, camera: str, node: str) -> None: ...


@event("A USB storage device matches no profile; it is never mounted, read or written.")
def device_ignored(
    *,
    vendor: str,
    product: str,
    serial: str,
    model: str,
    labels: Sequence[str],
    port: str,
    hint: str,
) -> None: ...


@ending("No folder has to be polled any more.")
def folder_watched() -> None: ...


@failure(
    "`folders` folders can't be watched, as inotify's limit is reached or they can't be "
    "read; they are polled instead.",
    level="warning",
    ending=folder_watched,
    shown=False,
)
def folder_polled(*, camera: str, folders: int) -> None: ...


@ending("udev events are received again.")
def usb_monitor_recovered() -> None: ...


@failure(
    "udev events can't be received, and periodic scans detect devices; or the USB devices "
    "can't be listed, and docked cameras stay docked.",
    level="warning",
    ending=usb_monitor_recovered,
)
def usb_monitor_failed() -> None: ...


# A clip


@event("A clip was read once and encrypted, and its ciphertext is durable in the spool.")
def clip_spooled(
    *, clip_id: str, size: int, seconds: float, **clip: Unpack[ClipFields]
) -> None: ...


@event(
    "The spool held an encrypted clip with its manifest that the ledger didn't know; it is "
    "delivered.",
    level="warning",
)
def clip_taken_in(*, clip_id: str, size: int, **clip: Unpack[ClipFields]) -> None: ...


@event("A clip that was read is already in the spool, as clip `into`; it is delivered once.")
def clip_rejoined(*, clip_id: str, size: int, into: int, **clip: Unpack[ClipFields]) -> None: ...


@ending("A clip whose reading or delivery had failed was read or delivered.")
def clip_recovered(*, clip_id: str, **clip: Unpack[ClipFields]) -> None: ...


@failure(
    "A clip could not be read to its end, as it changed or its camera did not answer; it is"
    " read again.",
    level="warning",
    ending=clip_recovered,
)
def clip_ingest_interrupted(**clip: Unpack[ClipFields]) -> None: ...


@error_event(
    "A clip can't be read, or is too large; it stays on its camera and needs operator action."
)
def clip_unreadable(**clip: Unpack[ClipFields]) -> None: ...


@ending("A file that was incomplete for very long is complete, or gone.")
def clip_settled(*, camera: str, path: str) -> None: ...


@failure(
    "A file in a folder has been incomplete for very long; it is read once it stops changing.",
    level="warning",
    ending=clip_settled,
)
def clip_unsettled(*, camera: str, path: str) -> None: ...


@event("An upload resumes at the server's offset.")
def clip_upload_resumed(*, clip_id: str, offset: int, **clip: Unpack[ClipFields]) -> None: ...


@event(
    "The target has all bytes of a clip; only a receipt acknowledges it. The last attempt "
    "sent `sent` bytes in `seconds`."
)
def clip_uploaded(
    *, clip_id: str, size: int, sent: int, seconds: float, **clip: Unpack[ClipFields]
) -> None: ...


@event("A verified receipt for a clip is durable in the ledger.")
def clip_acknowledged(*, clip_id: str, receiver: str, **clip: Unpack[ClipFields]) -> None: ...


@error_event(
    "Permanently rejected by the server; the clip stays on its camera and needs operator action."
)
def clip_rejected(*, clip_id: str, **clip: Unpack[ClipFields]) -> None: ...


@event("A clip was removed from its camera and its absence verified.")
def clip_wiped(*, clip_id: str, policy: str, **clip: Unpack[ClipFields]) -> None: ...


@event("A clip passed every check before a wipe and was left, as the policy is dry-run.")
def clip_wipe_rehearsed(*, clip_id: str, **clip: Unpack[ClipFields]) -> None: ...


@event(
    "The target stores ciphertext but issues no receipts, so nothing is ever wiped.",
    level="warning",
)
def target_gives_no_receipts(*, target: str) -> None: ...


# Spool, upload, receipt, wipe


@ending("The spool has space again for a clip that waited.")
def spool_room() -> None: ...


@failure(
    "The spool's budget or disk is full; ingest waits for uploads to free space or, where "
    "`error` is `spool.disk_full`, for an operator to free disk space.",
    level="warning",
    ending=spool_room,
)
def spool_full() -> None: ...


@ending("The spool's disk works again.")
def spool_recovered() -> None: ...


@failure(
    "The spool's disk fails to read, write or delete; clips that need it wait.",
    ending=spool_recovered,
)
def spool_failed() -> None: ...


@error_event(
    "A clip's ciphertext is missing from the spool or altered; what is left is set aside, "
    "and the clip is read again."
)
def spool_damaged(*, clip_id: str, **clip: Unpack[ClipFields]) -> None: ...


@ending("The spool holds no unknown ciphertexts any more.")
def spool_known() -> None: ...


@failure(
    "The spool holds ciphertexts without a manifest that the ledger doesn't know; they stay there.",
    ending=spool_known,
)
def spool_unknown(*, files: int, size: int, names: Sequence[str]) -> None: ...


@ending("The ledger can be read again for what to upload.")
def ledger_recovered() -> None: ...


@failure(
    "The ledger can't be read for what to upload; uploads in progress continue.",
    ending=ledger_recovered,
)
def ledger_failed() -> None: ...


@ending("The target accepts clips again.")
def target_up(*, target: str) -> None: ...


@failure(
    "The target accepts no clips at present; retried indefinitely.",
    level="warning",
    ending=target_up,
)
def target_down(*, target: str) -> None: ...


@event(
    "A proxy before the target rejects requests as large as the last (413); requests are "
    "smaller from now on, until dockd restarts. Set target.chunk_size, or raise the proxy's"
    " limit (nginx: client_max_body_size), to avoid the failed attempts.",
    level="warning",
)
def target_pieces_smaller(*, target: str, refused: int, now: int) -> None: ...


@failure(
    "A clip's delivery fails at present while others may succeed; retried indefinitely.",
    level="warning",
    ending=clip_recovered,
)
def clip_retrying(*, clip_id: str, **clip: Unpack[ClipFields]) -> None: ...


@failure(
    "A receipt is invalid; the clip is not acknowledged, and the receipt is requested again.",
    ending=clip_recovered,
)
def receipt_refused(*, clip_id: str, reason: str, **clip: Unpack[ClipFields]) -> None: ...


@ending("A clip whose removal had failed or been refused was removed, after all checks.")
def wipe_recovered(**clip: Unpack[ClipFields]) -> None: ...


@failure("A check before a wipe failed; the clip stays on its camera.", ending=wipe_recovered)
def wipe_refused(**clip: Unpack[ClipFields]) -> None: ...


@ending("The server confirms receipts again.")
def wipe_confirmed(*, camera: str) -> None: ...


@failure(
    "A camera's clips have receipts from an earlier run, and the server can't confirm now "
    "that it still holds them; they stay on the camera until it does.",
    level="warning",
    ending=wipe_confirmed,
)
def wipe_unconfirmed(*, camera: str, clips: int) -> None: ...


@event(
    "The server has lost a clip that it had issued a receipt for. The clip is still on its "
    "camera, and is read and uploaded again; check what else the server has lost.",
    level="error",
)
def clip_disowned(*, clip_id: str, **clip: Unpack[ClipFields]) -> None: ...


@failure("A clip could not be removed from its camera; retried.", ending=wipe_recovered)
def wipe_failed(**clip: Unpack[ClipFields]) -> None: ...


@failure(
    "After a wipe, files that were to stay are missing or changed: the camera's file system"
    " is damaged. What was wiped has its receipts."
)
def wipe_damaged(*, camera: str, files: int, paths: Sequence[str]) -> None: ...


@event(
    "Clips are overwritten before they are removed. Flash keeps old blocks out of reach, so"
    " this is no sanitisation.",
    level="warning",
)
def wipe_overwrites(*, hint: str) -> None: ...

"""What dockd says in its logs: every event, its fields, its meaning.

``docs/events.md`` is made from this table by dockd.cli.events_page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

EVENTS: dict[str, "Event"] = {}
"""Every event by its name."""


@dataclass(frozen=True)
class Event:
    """A thing that dockd reports under a stable name."""

    name: str
    level: str
    meaning: str
    fields: Mapping[str, str]
    """Field name to type; a ``?`` marks one that may be absent or null."""


def _event(name: str, level: str, meaning: str, **fields: str) -> Event:
    event = Event(name, level, meaning, MappingProxyType(fields))
    EVENTS[name] = event
    return event


_ERROR = {"error": "str", "detail": "str", "hint": "str"}
_CLIP = {"camera": "str", "clip": "int", "path": "str"}

# The daemon

DAEMON_STARTED = _event(
    "daemon.started", "info", "The daemon runs.", version="str", station="str", target="str"
)
DAEMON_STOPPING = _event("daemon.stopping", "info", "A stop was asked for.", signal="str")
DAEMON_STOPPED = _event("daemon.stopped", "info", "The daemon has stopped; nothing is half-done.")
DAEMON_FAILED = _event(
    "daemon.failed", "error", "The daemon can't go on.", exception="str?", **_ERROR
)
PART_FAILED = _event(
    "daemon.part_failed",
    "error",
    "A part of the daemon, or of the receiver, has ended with an error; it is started again, and"
    " the rest goes on.",
    part="str",
    failures="int",
    exception="str?",
    **_ERROR,
)
PART_RECOVERED = _event(
    "daemon.part_recovered",
    "info",
    "A part of the daemon, or of the receiver, that had failed works again.",
    part="str",
    failures="int",
    seconds="float",
)
DAEMON_CUT_SHORT = _event(
    "daemon.cut_short",
    "warning",
    "A disk has not let the daemon stop, or reload, within so many seconds; it ends as in a crash,"
    " and the next start carries on.",
    seconds="float",
)
CONFIG_RELOADED = _event("config.reloaded", "info", "A changed configuration is in force.")
CONFIG_REFUSED = _event(
    "config.refused", "error", "A changed configuration is wrong; the old one stays.", **_ERROR
)

LOG_LOST = _event(
    "log.lost",
    "error",
    "So many lines of this log could not be written, here or just before; the work went on.",
    lines="int",
    seconds="float",
    detail="str",
)
LIBRARY_COMPLAINED = _event(
    "library.complained",
    "warning",
    "A library that dockd uses has logged a warning or worse; what came from the same place"
    " in it within a minute of the last such line is only counted.",
    library="str",
    detail="str",
    unwritten="int",
    exception="str?",
)

WATCHDOG_STARVED = _event(
    "watchdog.starved",
    "error",
    "A part gives no sign of work; the watchdog is not fed, and systemd starts dockd anew.",
    parts="list[str]",
)

JOURNAL_BROKEN = _event(
    "journal.broken",
    "error",
    "The journal's hash chain does not hold: somebody edited, removed or put in entries. Work"
    " goes on; the copy of the chain that the receiver's manifests hold tells what it was.",
    **_ERROR,
)

JOURNAL_UNREADABLE = _event(
    "journal.unreadable",
    "error",
    "The ledger can't be read, so the journal's chain is not checked yet: no sign of tampering.",
    failures="int",
    **_ERROR,
)
JOURNAL_READABLE = _event(
    "journal.readable",
    "info",
    "The journal's chain could be checked after all.",
    failures="int",
    seconds="float",
)

JOURNAL_FORKED = _event(
    "journal.forked",
    "error",
    "The receiver knows an entry of this station's journal that it has not, or has another one"
    " of. Wipes are held until an operator has decided; the rest goes on.",
    failures="int",
    exception="str?",
    **_ERROR,
)
JOURNAL_UNWITNESSED = _event(
    "journal.unwitnessed",
    "warning",
    "The receiver's word on this station's journal can't be had or relied on; wipes wait for it.",
    failures="int",
    exception="str?",
    **_ERROR,
)
JOURNAL_AGREES = _event(
    "journal.agrees",
    "info",
    "The journal goes on where the receiver has seen it.",
    failures="int",
    seconds="float",
)

# People's orders, and the API that takes them

RESYNC_ORDERED = _event(
    "order.resync",
    "info",
    "Somebody ordered to look again now; so many cameras are looked at, so many clips were"
    " taken up again, so many could not be.",
    uid="int",
    camera="str?",
    clip="int?",
    failed="bool",
    reupload="bool",
    cameras="int",
    clips="int",
    refused="int",
)
PAUSED = _event(
    "order.pause",
    "warning",
    "By order, uploads or wipes are held; said again at each start.",
    what="str",
    reason="str",
    until="str?",
    uid="int",
)
RESUMED = _event("order.resume", "info", "By order, uploads or wipes go on.", what="str", uid="int")
PAUSE_EXPIRED = _event(
    "pause.expired", "info", "An order to hold uploads or wipes has run out.", what="str"
)
PAUSE_FAILED = _event(
    "pause.failed",
    "warning",
    "An order that has run out holds nothing, but can't be put away; that is tried again.",
    failures="int",
    exception="str?",
    **_ERROR,
)
PAUSE_RECOVERED = _event(
    "pause.recovered",
    "info",
    "Orders that have run out are put away again.",
    failures="int",
    seconds="float",
)
CONTROL_LISTENS = _event(
    "control.listens", "info", "The control API or the bay display can be asked.", address="str"
)
CONTROL_FAILED = _event(
    "control.failed",
    "error",
    "The control API or the bay display can't be offered; the work goes on without.",
    exception="str?",
    **_ERROR,
)
CONNECTIONS_REFUSED = _event(
    "connections.refused",
    "warning",
    "As many connections are open as are allowed, of a station's control API or of a receiver;"
    " further ones are closed.",
    **_ERROR,
    failures="int",
)
CONNECTIONS_TAKEN = _event(
    "connections.taken",
    "info",
    "Half of the connections have ended, and further ones are taken again.",
    failures="int",
    seconds="float",
)
STATUS_STALE = _event(
    "status.stale",
    "warning",
    "The ledger can't be read for the status; what is told of clips is from before.",
    failures="int",
    exception="str?",
    **_ERROR,
)
STATUS_FRESH = _event(
    "status.fresh", "info", "The status is up to date again.", failures="int", seconds="float"
)

# A camera

CAMERA_DOCKED = _event(
    "camera.docked", "info", "A camera is in the dock.", camera="str", place="str", docking="int"
)
CAMERA_UNDOCKED = _event(
    "camera.undocked", "info", "A camera left.", camera="str", place="str", docking="int"
)
CAMERA_LOOKED_THROUGH = _event(
    "camera.looked_through",
    "info",
    "A look at a camera saw a change: clips on it, newly found, gone by another hand, and"
    " files that no rule of its profile selects or ignores.",
    camera="str",
    clips="int",
    found="int",
    vanished="int",
    left_alone="int",
)
CAMERA_FAILED = _event(
    "camera.failed",
    "error",
    "A camera can't be worked on; it is tried again.",
    camera="str",
    failures="int",
    exception="str?",
    **_ERROR,
)
CAMERA_FILES_LEFT = _event(
    "camera.files_left",
    "warning",
    "Video or much else on a camera fits no rule of its profile, and was not read: it is not safe"
    " to take.",
    camera="str",
    files="int",
    size="int",
    paths="list[str]",
    failures="int",
    **_ERROR,
)
CAMERA_RECOVERED = _event(
    "camera.recovered",
    "info",
    "A camera that had failed works again.",
    camera="str",
    failures="int",
    seconds="float",
)
CAMERA_WIPED = _event(
    "camera.wiped",
    "info",
    "Clips were removed from a camera and their absence read back.",
    camera="str",
    clips="int",
    size="int",
)

CAMERA_SAFE = _event(
    "camera.safe",
    "info",
    "Nothing on a camera waits for anything: it is safe to take.",
    camera="str",
    place="str",
    docking="int",
)
CAMERA_STUCK = _event(
    "camera.stuck",
    "warning",
    "What could be done for a camera is done; some of its clips wait for a person.",
    camera="str",
    place="str",
    docking="int",
    clips="int",
    hint="str",
)
FOLDER_UNREADABLE = _event(
    "camera.folder_unreadable",
    "error",
    "A file or folder of a camera can't be looked at; the rest of the camera is.",
    camera="str",
    path="str",
    failures="int",
    **_ERROR,
)
CAMERA_REFUSED = _event(
    "camera.refused",
    "error",
    "A device matches a profile, but is not taken; it is left alone.",
    place="str",
    profile="str",
    serial="str",
    failures="int?",
    **_ERROR,
)
VOLUME_UNUSABLE = _event(
    "camera.volume_unusable",
    "warning",
    "A part of a camera has no file system that dockd reads.",
    camera="str",
    node="str",
)
DEVICE_IGNORED = _event(
    "device.ignored",
    "info",
    "A USB storage device matches no profile; it is never mounted, read or written.",
    vendor="str",
    product="str",
    serial="str",
    model="str",
    labels="list[str]",
    port="str",
    hint="str",
)
WATCHES_SHORT = _event(
    "folder.polled",
    "warning",
    "A folder can't be watched, as inotify has no room or it can't be read, and so many folders by"
    " now: they are polled instead.",
    camera="str",
    folders="int",
    failures="int",
    **_ERROR,
)
WATCHES_ENOUGH = _event(
    "folder.watched",
    "info",
    "No folder is polled for want of room.",
    failures="int",
    seconds="float",
)
MONITOR_FAILED = _event(
    "usb.monitor_failed",
    "warning",
    "udev's events can't be followed, and regular looks find what is plugged in; or the USB"
    " devices can't be listed, and what is docked stays so.",
    failures="int",
    exception="str?",
    **_ERROR,
)
MONITOR_RECOVERED = _event(
    "usb.monitor_recovered",
    "info",
    "udev's events are followed again.",
    failures="int",
    seconds="float",
)

# A clip

CLIP_SPOOLED = _event(
    "clip.spooled",
    "info",
    "A clip was read once, sealed, and its ciphertext is durable in the spool.",
    **_CLIP,
    clip_id="str",
    size="int",
    seconds="float",
)
CLIP_TAKEN_IN = _event(
    "clip.taken_in",
    "warning",
    "A sealed clip that the ledger didn't know lay in the spool with its manifest; it is"
    " delivered.",
    **_CLIP,
    clip_id="str",
    size="int",
)
CLIP_REJOINED = _event(
    "clip.rejoined",
    "info",
    "A clip that was read is one that waits in the spool already, by its number; it is"
    " delivered once.",
    **_CLIP,
    clip_id="str",
    size="int",
    into="int",
)
CLIP_INGEST_INTERRUPTED = _event(
    "clip.ingest_interrupted",
    "warning",
    "A clip could not be read to its end, as it changed or its camera did not answer; it is read"
    " again.",
    **_CLIP,
    failures="int",
    **_ERROR,
)
CLIP_UNREADABLE = _event(
    "clip.unreadable",
    "error",
    "A clip can't be read, or is too large; it stays there, and a person has to see to it.",
    **_CLIP,
    **_ERROR,
)
CLIP_UNSETTLED = _event(
    "clip.unsettled",
    "warning",
    "A file in a folder is not complete for very long; it is taken once it rests.",
    camera="str",
    path="str",
    failures="int",
    **_ERROR,
)
CLIP_SETTLED = _event(
    "clip.settled",
    "info",
    "A file that was not complete for very long is complete, or gone.",
    camera="str",
    path="str",
    failures="int",
    seconds="float",
)
CLIP_UPLOAD_RESUMED = _event(
    "clip.upload_resumed",
    "info",
    "An upload goes on at the offset that the server has.",
    **_CLIP,
    clip_id="str",
    offset="int",
)
CLIP_UPLOADED = _event(
    "clip.uploaded",
    "info",
    "The target has all bytes of a clip; only a receipt acknowledges it. The last attempt sent"
    " so many of them in so many seconds.",
    **_CLIP,
    clip_id="str",
    size="int",
    sent="int",
    seconds="float",
)
CLIP_ACKNOWLEDGED = _event(
    "clip.acknowledged",
    "info",
    "A verified receipt for a clip is durable in the ledger.",
    **_CLIP,
    clip_id="str",
    receiver="str",
)
CLIP_REJECTED = _event(
    "clip.rejected",
    "error",
    "The server never will store a clip; it stays on the camera, and a person has to see to it.",
    **_CLIP,
    clip_id="str",
    **_ERROR,
)
CLIP_WIPED = _event(
    "clip.wiped",
    "info",
    "A clip was removed from its camera and its absence read back.",
    **_CLIP,
    clip_id="str",
    policy="str",
)
CLIP_WIPE_REHEARSED = _event(
    "clip.wipe_rehearsed",
    "info",
    "A clip passed every check before a wipe and was left, as the policy is dry-run.",
    **_CLIP,
    clip_id="str",
)

TARGET_GIVES_NO_RECEIPTS = _event(
    "target.gives_no_receipts",
    "warning",
    "The target holds ciphertext but signs for nothing, so nothing is ever wiped.",
    target="str",
)

# Spool, upload, receipt, wipe

SPOOL_FULL = _event(
    "spool.full",
    "warning",
    "Budget or disk leave no room; ingest waits until uploads make some, or, where `error` is"
    " `spool.disk_full`, until a person frees some disk.",
    failures="int",
    **_ERROR,
)
SPOOL_ROOM = _event(
    "spool.room",
    "info",
    "The spool has room again for what a clip had to wait for.",
    failures="int",
    seconds="float",
)
SPOOL_FAILED = _event(
    "spool.failed",
    "error",
    "The spool's disk fails, to read, to write or to remove; clips that need it wait.",
    failures="int",
    **_ERROR,
)
SPOOL_RECOVERED = _event(
    "spool.recovered", "info", "The spool's disk works again.", failures="int", seconds="float"
)
SPOOL_DAMAGED = _event(
    "spool.damaged",
    "error",
    "A clip's ciphertext is gone from the spool or altered; what is left of it is set aside,"
    " and the clip read again.",
    **_CLIP,
    clip_id="str",
    **_ERROR,
)
SPOOL_UNKNOWN = _event(
    "spool.unknown",
    "error",
    "There are ciphertexts in the spool that the ledger doesn't know, and no manifest beside"
    " them; they stay there.",
    files="int",
    size="int",
    names="list[str]",
    failures="int",
    **_ERROR,
)
SPOOL_KNOWN = _event(
    "spool.known",
    "info",
    "There are no unknown ciphertexts in the spool any more.",
    failures="int",
    seconds="float",
)
LEDGER_FAILED = _event(
    "ledger.failed",
    "error",
    "The ledger doesn't say what is to be uploaded; uploads under way go on.",
    failures="int",
    **_ERROR,
)
LEDGER_RECOVERED = _event(
    "ledger.recovered",
    "info",
    "The ledger says again what is to be uploaded.",
    failures="int",
    seconds="float",
)
TARGET_DOWN = _event(
    "target.down",
    "warning",
    "The target takes no clips now; they are tried again, for ever.",
    target="str",
    failures="int",
    **_ERROR,
)
TARGET_UP = _event(
    "target.up",
    "info",
    "The target takes clips again.",
    target="str",
    failures="int",
    seconds="float",
)
TARGET_PIECES = _event(
    "target.pieces_smaller",
    "warning",
    "A proxy before the target takes no piece of an upload as large as was sent (413); pieces are"
    " smaller from now on, until dockd starts anew. target.chunk_size, or the proxy's limit"
    " (nginx: client_max_body_size), spares the tries.",
    target="str",
    refused="int",
    now="int",
)
CLIP_RETRYING = _event(
    "clip.retrying",
    "warning",
    "One clip's delivery fails for now, or others go through and it doesn't; it is tried again,"
    " for ever.",
    **_CLIP,
    clip_id="str",
    failures="int",
    exception="str?",
    **_ERROR,
)
CLIP_RECOVERED = _event(
    "clip.recovered",
    "info",
    "A clip whose reading or delivery had failed was read or delivered.",
    **_CLIP,
    clip_id="str",
    failures="int",
    seconds="float",
)
RECEIPT_REFUSED = _event(
    "receipt.refused",
    "error",
    "A receipt releases nothing; the clip is not acknowledged, and the receipt asked for again.",
    **_CLIP,
    clip_id="str",
    reason="str",
    failures="int",
    **_ERROR,
)
WIPE_REFUSED = _event(
    "wipe.refused",
    "error",
    "A check before a wipe did not hold; the clip stays on its camera.",
    **_CLIP,
    failures="int",
    **_ERROR,
)
WIPE_UNCONFIRMED = _event(
    "wipe.unconfirmed",
    "warning",
    "A camera's clips have receipts from an earlier run; the server can't confirm now that it still"
    " holds them, and they stay on the camera until it does.",
    camera="str",
    clips="int",
    failures="int",
    exception="str?",
    **_ERROR,
)
WIPE_CONFIRMED = _event(
    "wipe.confirmed",
    "info",
    "The server confirms receipts again.",
    camera="str",
    failures="int",
    seconds="float",
)
CLIP_DISOWNED = _event(
    "clip.disowned",
    "error",
    "The server has lost a clip that it had given a receipt for. The clip is still on its camera,"
    " and is read and uploaded again; look for what else the server has lost.",
    **_CLIP,
    clip_id="str",
)
WIPE_FAILED = _event(
    "wipe.failed",
    "error",
    "A clip could not be removed from its camera; it is tried again.",
    **_CLIP,
    failures="int",
    **_ERROR,
)
WIPE_RECOVERED = _event(
    "wipe.recovered",
    "info",
    "A clip that could or must not be removed is gone now, by all the checks.",
    **_CLIP,
    failures="int",
    seconds="float",
)

WIPE_DAMAGED = _event(
    "wipe.damaged",
    "error",
    "After a wipe, files that were not to go are gone or changed: the camera's file system is"
    " damaged. What was wiped has its receipts.",
    camera="str",
    files="int",
    paths="list[str]",
    **_ERROR,
)
WIPE_OVERWRITES = _event(
    "wipe.overwrites",
    "warning",
    "Clips are overwritten before they are removed. Flash keeps old blocks out of reach, so"
    " this is no sanitisation.",
    hint="str",
)

# The receiver

RECEIVER_STARTED = _event(
    "receiver.started", "info", "The receiver takes uploads.", version="str", address="str"
)
RECEIVER_UNENCRYPTED = _event(
    "receiver.unencrypted",
    "warning",
    "The receiver speaks plain HTTP on an address that other machines may reach.",
    address="str",
    hint="str",
)
ROOM_SHORT = _event(
    "receiver.room_short",
    "error",
    "The store's disk has no room that could be promised; uploads are refused.",
    failures="int",
    exception="str?",
    **_ERROR,
)
ROOM_AGAIN = _event(
    "receiver.room_again",
    "info",
    "The store's disk has room again.",
    failures="int",
    seconds="float",
)
REQUEST_REFUSED = _event(
    "receiver.refused",
    "warning",
    "A request was refused; of each kind and station, or address where that isn't known, the first"
    " is written at once and further ones at growing intervals. Whom it was forwarded for is what"
    " its headers say, and nobody has checked it.",
    code="str",
    status="int",
    station="str",
    address="str",
    forwarded="str",
    failures="int",
    exception="str?",
    **_ERROR,
)
REQUEST_TAKEN = _event(
    "receiver.taken",
    "info",
    "A station's requests are taken again, of which some were refused.",
    code="str",
    station="str",
    failures="int",
    seconds="float",
)
RECEIVER_STOPPED = _event("receiver.stopped", "info", "The receiver has stopped.")
RECEIVER_CUT_SHORT = _event(
    "receiver.cut_short",
    "warning",
    "The store's disk has not let the receiver stop within so many seconds; it ends as in a crash,"
    " and the next start carries on.",
    seconds="float",
)
RECEIVER_FAILED = _event(
    "receiver.failed", "error", "The receiver can't go on.", exception="str?", **_ERROR
)
RECEIVER_RECOVERED = _event(
    "receiver.recovered",
    "info",
    "What an earlier run left unfinished was picked up.",
    unfinished="int",
    complete="int",
    junk="int",
)
UPLOAD_CREATED = _event(
    "receiver.upload_created",
    "info",
    "A station began an upload.",
    upload="str",
    clip_id="str",
    station="str",
    size="int",
)
UPLOAD_EXPIRED = _event(
    "receiver.upload_expired",
    "warning",
    "An unfinished upload was given up and removed.",
    upload="str",
    clip_id="str",
    station="str",
    offset="int",
)
UPLOAD_REFUSED = _event(
    "receiver.upload_refused",
    "error",
    "What arrived isn't what its manifest says; it was removed, and no receipt given.",
    upload="str",
    clip_id="str",
    station="str",
    **_ERROR,
)
UPLOAD_UNREADABLE = _event(
    "receiver.upload_unreadable",
    "error",
    "For some time, the disk can't give back what arrived; it was set aside, and the station"
    " uploads it again.",
    upload="str",
    clip_id="str",
    station="str",
    **_ERROR,
)
CLIP_STORED = _event(
    "receiver.clip_stored",
    "info",
    "A clip was re-read from the disk and acknowledged.",
    upload="str",
    clip_id="str",
    station="str",
    size="int",
    sha256="str",
)
CLIP_KNOWN = _event(
    "receiver.clip_known",
    "info",
    "An upload arrived that was stored already, and is sound.",
    upload="str",
    clip_id="str",
    station="str",
)
RECEIPT_RENEWED = _event(
    "receiver.receipt_renewed",
    "warning",
    "A stored copy had a receipt that no station takes: damaged, or signed while the receiver's"
    " clock was wrong. The copy was read back and has a new one; the old one is kept beside it.",
    clip_id="str",
    station="str",
    file="str",
)
ANCHORS_DAMAGED = _event(
    "receiver.anchors_damaged",
    "error",
    "The database of stations' anchors is damaged; it is set aside, and made anew from the stored"
    " manifests.",
    file="str",
    detail="str",
)
ANCHORS_REBUILDING = _event(
    "receiver.anchors_rebuilding",
    "info",
    "Stations' anchors are read from the stored manifests, before uploads are taken; it is told"
    " every minute how many were read.",
    manifests="int",
)
ANCHORS_REBUILT = _event(
    "receiver.anchors_rebuilt",
    "info",
    "Stations' anchors were read from the stored manifests. What the disk could not give back is"
    " read at the next start.",
    manifests="int",
    unreadable="int",
)
HISTORY_FORKED = _event(
    "receiver.history_forked",
    "error",
    "Stored manifests that one station's key has signed contradict each other: its ledger was set"
    " back, or two stations used the key.",
    station="str",
    kid="str",
    seq="int",
    hint="str",
)
COPY_DAMAGED = _event(
    "receiver.copy_damaged",
    "error",
    "A stored copy is not what the receiver has signed for. It counts as not stored; when it is"
    " uploaded again, what there is of it is set aside.",
    clip_id="str",
    file="str",
    detail="str",
    hint="str",
)
COPY_RESTORED = _event(
    "receiver.copy_restored",
    "warning",
    "A copy that counted as damaged was read back and is sound; it counts as stored again.",
    clip_id="str",
    file="str",
)
LEFTOVER = _event(
    "receiver.leftover",
    "warning",
    "What lies in the store's incoming folder isn't the receiver's, or its disk gives an error;"
    " it is left there.",
    file="str",
    detail="str",
)
STORE_FAILED = _event(
    "receiver.store_failed",
    "error",
    "The store's disk gave an error; stations try again.",
    **_ERROR,
    failures="int",
)
STORE_WORKS = _event(
    "receiver.store_recovered",
    "info",
    "The store's disk works again.",
    failures="int",
    seconds="float",
)

"""What the journal says: every kind of entry, its detail, its meaning.

``docs/events.md`` lists them below the events of the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A thing that the journal keeps under a stable name."""

    meaning: str
    detail: Mapping[str, str]
    """Member of ``detail`` to type; a ``?`` marks one that may be absent or null."""


_DOCKING = {"docking": "int", "place": "str"}
_FORMER = " What begins with `former_` was the clip's until then."
_STATEMENTS = {"former_manifest": "str?", "former_receipt": "str?", "former_answer": "str?"}
_LEFT = {"path": "str", "state": "str"}

KINDS: Mapping[str, Kind] = {
    "camera.docked": Kind("A camera is in the dock.", _DOCKING),
    "camera.undocked": Kind("A camera left.", {"docking": "int"}),
    "clip.found": Kind("A look at a camera saw a new clip.", {"path": "str", "size": "int"}),
    "clip.vanished": Kind("A clip is gone from its camera by another hand than dockd's.", _LEFT),
    "clip.replaced": Kind("Another content is at a clip's path on its camera.", _LEFT),
    "clip.ingesting": Kind("A clip is being read.", {}),
    "clip.ingest_interrupted": Kind("Reading broke off; the clip is read again.", {"error": "str"}),
    "clip.unreadable": Kind(
        "A clip can't be read, or is too large.", {"error": "str", "detail": "str"}
    ),
    "clip.spooled": Kind(
        "A clip's ciphertext is durable in the spool, and its manifest is signed; `recovered`"
        " where it was found there, and the ledger didn't know it, `renewed` where it was"
        " signed anew: by a new key, or because a clock had dated it into the future." + _FORMER,
        {
            "clip_id": "str",
            "plaintext_sha256": "str",
            "ciphertext_sha256": "str",
            "manifest_sha256": "str",
            "recovered": "bool?",
            "renewed": "bool?",
            "former_manifest": "str?",
        },
    ),
    "clip.rejoined": Kind(
        "A clip that was read is one that waits in the spool already, by its number.",
        {"into": "int"},
    ),
    "clip.returned": Kind("A clip in the spool is on its camera again.", {"docking": "int"}),
    "spool.damaged": Kind(
        "A clip's ciphertext is gone or damaged; the clip is read again.",
        {"error": "str", "ciphertext_sha256": "str", "former_manifest": "str?"},
    ),
    "clip.uploading": Kind("A clip is on its way to the target.", {}),
    "clip.uploaded": Kind("The target has all bytes of a clip.", {}),
    "clip.rejected": Kind("The server never will store a clip.", {"detail": "str"}),
    "receipt.refused": Kind("A receipt releases nothing.", {"problem": "str"}),
    "wipe.refused": Kind("A check before a wipe did not hold.", {"problem": "str"}),
    "clip.taken_up": Kind(
        "An order, by the number of its entry, or a new docking gives a clip another try; a receipt"
        " that it had counts no longer." + _FORMER,
        {"order": "int?", "docking": "int?", "before": "str"} | _STATEMENTS,
    ),
    "order.resync": Kind(
        "A person, by uid, ordered to look again now: at a clip, at the camera that is named,"
        " or at everything.",
        {"uid": "int", "named": "str?", "failed": "bool", "reupload": "bool"},
    ),
    "order.pause": Kind(
        "A person, by uid, ordered to hold uploads or wipes.",
        {"uid": "int", "what": "str", "reason": "str", "until": "str?"},
    ),
    "order.resume": Kind(
        "A person, by uid, ordered to go on with uploads or wipes.",
        {"uid": "int", "what": "str"},
    ),
    "clip.acknowledged": Kind(
        "A verified receipt is kept, and the receiver's answer that it came with.",
        {"clip_id": "str", "receipt_sha256": "str", "answer_sha256": "str?"},
    ),
    "clip.confirmed": Kind(
        "The receiver stands by the receipt of a clip that is to be wiped; further times in a row"
        " are not entered." + _FORMER,
        {
            "receipt_sha256": "str",
            "answer_sha256": "str",
            "former_receipt": "str?",
            "former_answer": "str?",
        },
    ),
    "clip.disowned": Kind(
        "The receiver has lost a clip that it had given a receipt for; it is read again." + _FORMER,
        {"receipt_sha256": "str"} | _STATEMENTS,
    ),
    "wipe.begun": Kind("A clip is about to be removed from its camera.", {"policy": "str"}),
    "wipe.undone": Kind("A wipe that was cut short has left this clip as it was.", {}),
    "wipe.damaged": Kind(
        "After a wipe, files that were not to go were gone or changed.", {"paths": "list[str]"}
    ),
    "clip.wiped": Kind(
        "A clip was removed and its absence read back; `recovered` where a crash came between.",
        {"clip_id": "str?", "recovered": "bool?"},
    ),
}
"""Every kind of entry by its name."""

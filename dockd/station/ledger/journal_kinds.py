"""Every kind of journal entry: its detail and its meaning.

``docs/events.md`` lists them below the log events.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of journal entry, which has a stable name."""

    meaning: str
    detail: Mapping[str, str]
    """Member of ``detail`` to type; a ``?`` marks one that may be absent or null."""


_DOCKING = {"docking": "int", "place": "str"}
_FORMER = " Members that begin with `former_` are the clip's values until then."
_STATEMENTS = {"former_manifest": "str?", "former_receipt": "str?", "former_answer": "str?"}
_LEFT = {"path": "str", "state": "str"}

KINDS: Mapping[str, Kind] = {
    "camera.docked": Kind("A camera was docked.", _DOCKING),
    "camera.undocked": Kind("A camera was undocked.", {"docking": "int"}),
    "clip.found": Kind("A scan of a camera found a new clip.", {"path": "str", "size": "int"}),
    "clip.vanished": Kind("A clip is gone from its camera, and dockd did not remove it.", _LEFT),
    "clip.replaced": Kind("The file at a clip's path on its camera has other content.", _LEFT),
    "clip.ingesting": Kind("A clip is being read.", {}),
    "clip.ingest_interrupted": Kind(
        "Reading was interrupted; the clip is read again.", {"error": "str"}
    ),
    "clip.unreadable": Kind(
        "A clip can't be read, or is too large.", {"error": "str", "detail": "str"}
    ),
    "clip.spooled": Kind(
        "A clip's ciphertext is durable in the spool, and its manifest is signed; `recovered`"
        " if the ledger did not know it, `renewed` if it was signed again: by a new key, or"
        " because its time was in the future." + _FORMER,
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
        "A clip that was read is already in the spool, under this number.",
        {"into": "int"},
    ),
    "clip.returned": Kind("A clip in the spool is on its camera again.", {"docking": "int"}),
    "spool.damaged": Kind(
        "A clip's ciphertext is missing or damaged; the clip is read again.",
        {"error": "str", "ciphertext_sha256": "str", "former_manifest": "str?"},
    ),
    "clip.uploading": Kind("A clip is being uploaded to the target.", {}),
    "clip.uploaded": Kind("The target has all bytes of a clip.", {}),
    "clip.rejected": Kind("Permanently rejected by the server.", {"detail": "str"}),
    "receipt.refused": Kind("An invalid receipt; it releases no wipe.", {"problem": "str"}),
    "wipe.refused": Kind("A check before a wipe failed.", {"problem": "str"}),
    "clip.taken_up": Kind(
        "A clip is retried: by a resync, named by the number of its entry, or in a new docking;"
        " its receipt, if it had one, is void." + _FORMER,
        {"order": "int?", "docking": "int?", "before": "str"} | _STATEMENTS,
    ),
    "order.resync": Kind(
        "An operator, by uid, requested a resync of a clip, of the named camera, or of everything.",
        {"uid": "int", "named": "str?", "failed": "bool", "reupload": "bool"},
    ),
    "order.pause": Kind(
        "An operator, by uid, paused uploads or wipes.",
        {"uid": "int", "what": "str", "reason": "str", "until": "str?"},
    ),
    "order.resume": Kind(
        "An operator, by uid, resumed uploads or wipes.",
        {"uid": "int", "what": "str"},
    ),
    "clip.acknowledged": Kind(
        "A verified receipt is recorded, with the receiver's answer that came with it.",
        {"clip_id": "str", "receipt_sha256": "str", "answer_sha256": "str?"},
    ),
    "clip.confirmed": Kind(
        "The receiver confirmed the receipt of a clip that is to be wiped; repeated confirmations"
        " are not entered." + _FORMER,
        {
            "receipt_sha256": "str",
            "answer_sha256": "str",
            "former_receipt": "str?",
            "former_answer": "str?",
        },
    ),
    "clip.disowned": Kind(
        "The receiver has lost a clip that it had issued a receipt for; the clip is read again."
        + _FORMER,
        {"receipt_sha256": "str"} | _STATEMENTS,
    ),
    "wipe.begun": Kind("A clip is about to be removed from its camera.", {"policy": "str"}),
    "wipe.undone": Kind("An interrupted wipe has left this clip as it was.", {}),
    "wipe.damaged": Kind(
        "A wipe has removed or changed other files than its clips.", {"paths": "list[str]"}
    ),
    "clip.wiped": Kind(
        "A clip was removed and its absence verified; `recovered` if a crash interrupted the wipe.",
        {"clip_id": "str?", "recovered": "bool?"},
    ),
}
"""Every kind of entry by its name."""

"""The age v1 file format: encryption to recipients, decryption with identities.

Follows the C2SP specification (https://c2sp.org/age) for the native X25519 and
mlkem768x25519 recipient types; passphrases, tags and plugins are not supported.
Armored files are read, and never written.
"""

from dockd.evidence.age.decrypt import decrypt_file
from dockd.evidence.age.header import Stanza
from dockd.evidence.age.hybrid import HybridIdentity, HybridRecipient
from dockd.evidence.age.keys import Identity, Recipient
from dockd.evidence.age.recipients import parse_identities, parse_recipient, parse_recipients
from dockd.evidence.age.stream import CHUNK, TAG, Sealer, ciphertext_size, open_stream
from dockd.evidence.age.x25519 import X25519Identity, X25519Recipient

__all__ = [
    "CHUNK",
    "TAG",
    "HybridIdentity",
    "HybridRecipient",
    "Identity",
    "Recipient",
    "Sealer",
    "Stanza",
    "X25519Identity",
    "X25519Recipient",
    "ciphertext_size",
    "decrypt_file",
    "open_stream",
    "parse_identities",
    "parse_recipient",
    "parse_recipients",
]

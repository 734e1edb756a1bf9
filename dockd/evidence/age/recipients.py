"""Parsing of recipients and identities, and which may be combined."""

from collections.abc import Sequence
from typing import TypeVar

from dockd.base.errors import AgeKeyError
from dockd.evidence.age import bech32
from dockd.evidence.age.hybrid import HybridIdentity, HybridRecipient
from dockd.evidence.age.keys import Identity, Recipient
from dockd.evidence.age.x25519 import X25519Identity, X25519Recipient

_Key = TypeVar("_Key", bound=Recipient | Identity)

_RECIPIENT_TYPES: tuple[type[Recipient], ...] = (X25519Recipient, HybridRecipient)
_IDENTITY_TYPES: tuple[type[Identity], ...] = (X25519Identity, HybridIdentity)
_RECIPIENT_HINT = "give a key that starts with age1 or age1pq1, as age-keygen -y prints it"
_IDENTITY_HINT = "give a file of lines that start with AGE-SECRET-KEY-1 or AGE-SECRET-KEY-PQ-1"


def parse_recipient(text: str) -> Recipient:
    """Return the recipient of a Bech32 string.

    Raises:
        AgeKeyError: it is none, or of an unsupported type.
    """
    if text.upper().startswith("AGE-SECRET-KEY-"):
        raise AgeKeyError(
            "this is a secret identity, but a recipient is required",
            hint="replace it by its recipient, and the key too if others may have read it here",
        )
    try:
        return _parse(text, _RECIPIENT_TYPES)
    except ValueError as error:
        raise AgeKeyError(f"recipient {text[:12]!r}…: {error}", hint=_RECIPIENT_HINT) from error


def parse_recipients(texts: Sequence[str]) -> list[Recipient]:
    """Return the recipients of one file, in their order.

    Raises:
        AgeKeyError: one of them is no recipient, there is none, or they can't be combined.
    """
    recipients = [parse_recipient(text) for text in texts]
    check_together(recipients)
    return recipients


def parse_identities(text: str) -> list[Identity]:
    """Return the identities of an identity file: one a line, empty lines and # comments.

    Raises:
        AgeKeyError: a line is no identity, or there is none; the line is never quoted.
    """
    identities = []
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        try:
            identities.append(_parse(entry, _IDENTITY_TYPES))
        except ValueError as error:
            raise AgeKeyError(
                f"line {number} is not an identity: {error}", hint=_IDENTITY_HINT
            ) from error
    if not identities:
        raise AgeKeyError("it contains no identity", hint=_IDENTITY_HINT)
    return identities


def check_together(recipients: Sequence[Recipient]) -> None:
    """Check that one file may be encrypted to all of these recipients.

    Raises:
        AgeKeyError: there is none, or only some of them are post-quantum.
    """
    if not recipients:
        raise AgeKeyError("there is no recipient", hint=_RECIPIENT_HINT)
    if len({recipient.post_quantum for recipient in recipients}) > 1:
        raise AgeKeyError(
            "post-quantum recipients (age1pq1…) and X25519 recipients (age1…) are mixed, and a "
            "quantum computer could open the file through the latter",
            hint="use recipients of one kind only",
        )


def _parse(text: str, types: tuple[type[_Key], ...]) -> _Key:
    hrp, data = bech32.decode(text)
    for key_type in types:
        if hrp == key_type.hrp:
            return key_type(data)
    raise ValueError("unknown type of key")

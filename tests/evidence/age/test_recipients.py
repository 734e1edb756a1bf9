import hashlib
import traceback
from collections.abc import Callable

import pytest

from dockd.base.errors import AgeHeaderError, AgeKeyError
from dockd.evidence.age import (
    HybridIdentity,
    HybridRecipient,
    Identity,
    Sealer,
    Stanza,
    X25519Identity,
    X25519Recipient,
    bech32,
    parse_identities,
    parse_recipient,
    parse_recipients,
)
from dockd.evidence.age.header import decode_base64, encode_base64
from tests.evidence.age.support import open_all, seal

IDENTITY_TYPES: list[type[Identity]] = [X25519Identity, HybridIdentity]
FILE_KEY = b"sixteen bytes on"
LOW_ORDER_POINT = bytes(32)

# The pairs that the specification prints; of the recipients, the SHA-256.
SPECIFIED = [
    (
        "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX",
        "6a804773982840fa7eae3847079a53b0b140d678130dc68f1c7f72b5e5080d4f",
    ),
    (
        "AGE-SECRET-KEY-PQ-1XX76JRALNLXDMEW0CRK45QMCCH4X06SE84UN3VPM33W6HWDX0H3SK3ZQFR",
        "a091dd7e0ee9d62b75173dcc98441a0424baa941e66a8776e570a4ae60ff61ea",
    ),
]


@pytest.mark.parametrize(("secret", "fingerprint"), SPECIFIED)
def test_the_keys_of_the_specification_belong_together(secret: str, fingerprint: str) -> None:
    [identity] = parse_identities(secret)

    assert str(identity) == secret
    assert identity.recipient.fingerprint == fingerprint
    assert hashlib.sha256(str(identity.recipient).encode()).hexdigest() == fingerprint


@pytest.mark.parametrize("identity_type", IDENTITY_TYPES)
def test_a_generated_identity_survives_its_text_form(identity_type: type[Identity]) -> None:
    identity = identity_type.generate()
    [read] = parse_identities(str(identity))

    assert str(read) == str(identity)
    assert parse_recipient(str(identity.recipient)) == identity.recipient
    assert identity.recipient != identity_type.generate().recipient


@pytest.mark.parametrize("identity_type", IDENTITY_TYPES)
def test_repr_never_shows_a_secret(identity_type: type[Identity]) -> None:
    identity = identity_type.generate()

    shown = f"{identity!r} {[identity]}"

    assert str(identity) not in shown
    assert str(identity)[-20:] not in shown
    assert identity.recipient.fingerprint in shown


def test_an_identity_file_may_have_comments_empty_lines_and_any_line_ends() -> None:
    first, second = X25519Identity.generate(), HybridIdentity.generate()
    text = f"# created today\n# public key: …\n{first}\r\n\n  {second}  \n#{first}"

    assert [str(identity) for identity in parse_identities(text)] == [str(first), str(second)]


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n"])
def test_an_identity_file_without_an_identity_is_refused(text: str) -> None:
    with pytest.raises(AgeKeyError, match="no identity"):
        parse_identities(text)


@pytest.mark.parametrize("identity_type", IDENTITY_TYPES)
def test_a_damaged_identity_is_named_by_its_line_and_never_quoted(
    identity_type: type[Identity],
) -> None:
    secret = str(identity_type.generate())
    damaged = secret[:-1] + ("Q" if secret[-1] != "Q" else "P")

    with pytest.raises(AgeKeyError, match="line 2") as caught:
        parse_identities(f"# a comment\n{damaged}\n")

    report = "".join(traceback.format_exception(caught.value))
    assert secret[20:40] not in report


@pytest.mark.parametrize("identity_type", IDENTITY_TYPES)
@pytest.mark.parametrize("size", [31, 33])
def test_an_identity_of_another_length_is_refused(identity_type: type[Identity], size: int) -> None:
    with pytest.raises(AgeKeyError, match=f"{size} bytes and not 32"):
        parse_identities(bech32.encode(identity_type.hrp, bytes(size)))


@pytest.mark.parametrize("identity_type", IDENTITY_TYPES)
@pytest.mark.parametrize("change", [str.upper, str.lower])
def test_a_secret_given_as_a_recipient_is_refused_and_never_quoted(
    identity_type: type[Identity], change: Callable[[str], str]
) -> None:
    secret = change(str(identity_type.generate()))

    with pytest.raises(AgeKeyError, match="secret identity") as caught:
        parse_recipient(secret)

    report = "".join(traceback.format_exception(caught.value)) + caught.value.hint
    assert secret[20:40] not in report


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "truncated"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI", "mixes"),
        (bech32.encode("age", bytes(31)), "31 bytes"),
        (bech32.encode("age", LOW_ORDER_POINT), "low order"),
        (bech32.encode("age1pq", bytes(1215)), "1215 bytes"),
        (bech32.encode("age1pq", b"\xff" * 1216), "ML-KEM"),
        (bech32.encode("age1tag", bytes(33)), "type of key"),
        (str(X25519Identity.generate().recipient).upper(), "type of key"),
        (str(X25519Identity.generate().recipient)[:-1], "checksum"),
    ],
)
def test_what_is_no_usable_recipient_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(AgeKeyError, match=reason) as caught:
        parse_recipient(text)

    assert "age1" in caught.value.hint


def test_a_hybrid_recipient_with_a_low_order_point_is_refused() -> None:
    key = bech32.decode(str(HybridIdentity.generate().recipient))[1]

    with pytest.raises(AgeKeyError, match="low order"):
        parse_recipient(bech32.encode("age1pq", key[:-32] + LOW_ORDER_POINT))


def test_hybrid_and_x25519_recipients_are_not_mixed() -> None:
    classic, hybrid = X25519Identity.generate().recipient, HybridIdentity.generate().recipient
    assert isinstance(classic, X25519Recipient)
    assert isinstance(hybrid, HybridRecipient)

    with pytest.raises(AgeKeyError, match="quantum computer") as caught:
        parse_recipients([str(classic), str(hybrid)])
    assert caught.value.hint

    with pytest.raises(AgeKeyError, match="quantum computer"):
        Sealer([hybrid, classic])


def test_a_file_needs_a_recipient() -> None:
    with pytest.raises(AgeKeyError, match="no recipient"):
        parse_recipients([])
    with pytest.raises(AgeKeyError, match="no recipient"):
        Sealer([])


@pytest.mark.parametrize("identity_type", IDENTITY_TYPES)
def test_each_of_several_recipients_opens_the_file(identity_type: type[Identity]) -> None:
    identities = [identity_type.generate() for _ in range(3)]
    sealed = seal(b"a clip", [identity.recipient for identity in identities])

    for identity in identities:
        stranger = identity_type.generate()
        assert open_all(sealed, [stranger, identity]) == b"a clip"


@pytest.mark.parametrize(
    "break_share",
    [
        lambda share: bytes(len(share)),
        lambda share: share[:-1],
        lambda share: share + b"\0",
    ],
    ids=["low order", "short", "long"],
)
@pytest.mark.parametrize("identity_type", [X25519Identity, HybridIdentity])
def test_an_unusable_share_is_a_header_error(
    identity_type: type[Identity], break_share: Callable[[bytes], bytes]
) -> None:
    identity = identity_type.generate()
    stanza = identity.recipient.wrap(FILE_KEY)
    share = decode_base64(stanza.args[1].encode(), "share")
    broken = Stanza((stanza.args[0], encode_base64(break_share(share))), stanza.body)
    assert identity.unwrap([stanza]) == FILE_KEY

    with pytest.raises(AgeHeaderError):
        identity.unwrap([broken])


@pytest.mark.parametrize("identity_type", IDENTITY_TYPES)
def test_every_stanza_of_an_identitys_type_must_be_well_formed(
    identity_type: type[Identity],
) -> None:
    identity = identity_type.generate()
    stanza = identity.recipient.wrap(FILE_KEY)
    malformed = [
        Stanza((*stanza.args, "more"), stanza.body),
        Stanza(stanza.args[:1], stanza.body),
        Stanza((stanza.args[0], stanza.args[1] + "="), stanza.body),
        Stanza(stanza.args, stanza.body + b"\0"),
        Stanza(stanza.args, stanza.body[:-1]),
    ]
    for other in malformed:
        with pytest.raises(AgeHeaderError):
            identity.unwrap([stanza, other])


@pytest.mark.parametrize("identity_type", IDENTITY_TYPES)
def test_stanzas_of_other_types_or_keys_are_ignored(identity_type: type[Identity]) -> None:
    identity = identity_type.generate()
    others = [
        Stanza(("grease", "!"), b""),
        Stanza((identity.stanza_type.swapcase(),), b""),
        identity_type.generate().recipient.wrap(bytes(16)),
    ]

    assert identity.unwrap(others) is None
    assert identity.unwrap([*others, identity.recipient.wrap(FILE_KEY)]) == FILE_KEY

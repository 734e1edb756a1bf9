import base64
import hashlib
import hmac
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jws
from joserfc.errors import BadSignatureError
from joserfc.jwk import OKPKey

from dockd.base.errors import ManifestRefusedError, ReceiptRefusedError
from dockd.evidence.jws import MAX_STATEMENT
from dockd.evidence.keys import SigningKey, VerifyKey
from dockd.evidence.statements import (
    Answer,
    Content,
    Manifest,
    Receipt,
    Signer,
    derive_clip_id,
    read_unverified_manifest,
    sign,
    statement_sha256,
    verify_answer,
    verify_manifest,
    verify_receipt,
)
from tests.support import ALICE, BOB, CAROL, CIPHERTEXT, PLAINTEXT, make_manifest, make_receipt

STATION = SigningKey.generate()
OTHER_STATION = SigningKey.generate()
RECEIVER = SigningKey.generate()
STRANGER = SigningKey.generate()
MANIFEST = make_manifest(STATION)
TOKEN = sign(MANIFEST, STATION)


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def hand_made(header: dict[str, Any] | bytes, payload: bytes, signature: bytes) -> str:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return f"{encode(head)}.{encode(payload)}.{encode(signature)}"


def signed(header: dict[str, Any] | bytes, payload: bytes, key: SigningKey = RECEIVER) -> str:
    """A JWS whose signature is right, whatever its header says."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    text = f"{encode(head)}.{encode(payload)}"
    return f"{text}.{encode(key.private.sign(text.encode()))}"


def payload_of(statement: Manifest | Receipt) -> bytes:
    return statement.model_dump_json().encode()


def receipt(**changes: Any) -> Receipt:
    return make_receipt(RECEIVER, MANIFEST, TOKEN, **changes)


def receipt_token(**changes: Any) -> str:
    return sign(receipt(**changes), RECEIVER)


HEADER = {"alg": "EdDSA", "kid": RECEIVER.kid, "typ": "dockd.receipt"}


def refused(token: str) -> str:
    with pytest.raises(ReceiptRefusedError) as caught:
        verify_receipt(token, [RECEIVER.verify_key], TOKEN)
    assert caught.value.detail
    return caught.value.reason


def test_content_is_digested_block_by_block() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Content.of([]) == Content(sha256=empty, size=0)
    whole = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert Content.of([b"a", memoryview(b"bc")]) == Content(sha256=whole, size=3)


def test_the_receipt_for_this_very_upload_is_accepted() -> None:
    assert verify_receipt(receipt_token(), [RECEIVER.verify_key], TOKEN) == receipt()


def by_another_key() -> str:
    return sign(make_receipt(STRANGER, MANIFEST, TOKEN), STRANGER)


def by_another_key_under_our_kid() -> str:
    return signed(HEADER, payload_of(receipt()), STRANGER)


def unsigned() -> str:
    return hand_made({**HEADER, "alg": "none"}, payload_of(receipt()), b"")


def mac_with_the_public_key() -> str:
    head = encode(json.dumps({**HEADER, "alg": "HS256"}).encode())
    text = f"{head}.{encode(payload_of(receipt()))}"
    mac = hmac.digest(RECEIVER.verify_key.pem(), text.encode(), "sha256")
    return f"{text}.{encode(mac)}"


def of_another_clip() -> str:
    other = make_manifest(STATION, plaintext=Content(sha256="9" * 64, size=1000))
    return sign(make_receipt(RECEIVER, other, sign(other, STATION)), RECEIVER)


def of_another_stations_manifest() -> str:
    """Another manifest is named for this station's own ciphertext."""
    other = make_manifest(OTHER_STATION, station="soho-01")
    return sign(make_receipt(RECEIVER, other, sign(other, OTHER_STATION)), RECEIVER)


def naming_another_station() -> str:
    return receipt_token(station=Signer(id="soho-01", kid=OTHER_STATION.kid))


def of_another_digest() -> str:
    return receipt_token(ciphertext=Content(sha256="9" * 64, size=CIPHERTEXT.size))


def of_another_length() -> str:
    return receipt_token(ciphertext=Content(sha256=CIPHERTEXT.sha256, size=CIPHERTEXT.size - 1))


def of_another_plaintext() -> str:
    return receipt_token(plaintext=Content(sha256="9" * 64, size=PLAINTEXT.size))


def of_another_plaintext_length() -> str:
    return receipt_token(plaintext=Content(sha256=PLAINTEXT.sha256, size=PLAINTEXT.size + 1))


def for_fewer_recipients() -> str:
    return receipt_token(recipients=[ALICE])


def for_more_recipients() -> str:
    return receipt_token(recipients=[ALICE, BOB, CAROL])


def edited() -> str:
    head, payload, signature = receipt_token().split(".")
    changed = decode(payload).replace(b"evidence-1", b"evidence-2")
    return f"{head}.{encode(changed)}.{signature}"


def cut_short() -> str:
    text, _, signature = receipt_token().rpartition(".")
    return f"{text}.{encode(decode(signature)[:-1])}"


def with_half_a_signature() -> str:
    return receipt_token()[:-42]  # 33 whole bytes are left


def with_a_signature_that_is_no_base64() -> str:
    return receipt_token()[:-41]


def without_signature() -> str:
    return receipt_token().rpartition(".")[0]


def with_an_empty_signature() -> str:
    return receipt_token().rpartition(".")[0] + "."


def signed_text_that_is_no_json() -> str:
    return signed(HEADER, b"stored, thank you")


def signed_json_that_is_no_receipt() -> str:
    return signed(HEADER, b'{"stored":true}')


def signed_deep_json() -> str:
    return signed(HEADER, b'{"typ":' + b"[" * 20_000 + b"]" * 20_000 + b"}")


def the_manifest_handed_back() -> str:
    return signed(HEADER, payload_of(MANIFEST))


def of_a_later_version() -> str:
    return signed(HEADER, json.dumps(receipt().model_dump() | {"v": 2}).encode())


def without(name: str) -> Callable[[], str]:
    def make() -> str:
        members = receipt().model_dump()
        del members[name]
        return signed(HEADER, json.dumps(members).encode())

    return make


def under_a_header_that_says(typ: object) -> Callable[[], str]:
    return lambda: signed({**HEADER, "typ": typ}, payload_of(receipt()))


def under_a_header_without_typ() -> str:
    return signed({"alg": "EdDSA", "kid": RECEIVER.kid}, payload_of(receipt()))


def naming_another_receiver_key() -> str:
    return receipt_token(receiver=Signer(id="evidence-1", kid=STRANGER.kid))


def asking_for_an_extension() -> str:
    return signed({**HEADER, "crit": ["b64"], "b64": True}, payload_of(receipt()))


def asking_for_an_unknown_extension() -> str:
    return signed({**HEADER, "crit": ["exp"], "exp": 0}, payload_of(receipt()))


def with_a_detached_payload() -> str:
    return signed({**HEADER, "b64": False}, payload_of(receipt()))


def with_a_kid_that_is_no_text() -> str:
    return signed({**HEADER, "kid": [RECEIVER.kid]}, payload_of(receipt()))


def without_kid() -> str:
    return signed({"alg": "EdDSA", "typ": "dockd.receipt"}, payload_of(receipt()))


def huge() -> str:
    padded = receipt().model_dump() | {"more": "x" * MAX_STATEMENT}
    return signed(HEADER, json.dumps(padded).encode())


def a_web_page() -> str:
    return "<!DOCTYPE html>\n<html><body>Please log in to the guest network</body></html>"


def a_deep_header() -> str:
    return signed(b'{"kid":' + b"[" * 20_000 + b"]" * 20_000 + b"}", b"{}")


REFUSED: list[tuple[Callable[[], str], str]] = [
    (by_another_key, "unknown-key"),
    (without_kid, "unknown-key"),
    (by_another_key_under_our_kid, "signature"),
    (unsigned, "algorithm"),
    (mac_with_the_public_key, "algorithm"),
    (of_another_clip, "other-clip"),
    (of_another_stations_manifest, "other-manifest"),
    (naming_another_station, "station"),
    (of_another_digest, "digest"),
    (of_another_length, "length"),
    (of_another_plaintext, "plaintext"),
    (of_another_plaintext_length, "plaintext"),
    (for_fewer_recipients, "recipients"),
    (for_more_recipients, "recipients"),
    (edited, "signature"),
    (cut_short, "signature"),
    (with_half_a_signature, "signature"),
    (with_a_signature_that_is_no_base64, "malformed"),
    (with_an_empty_signature, "signature"),
    (without_signature, "malformed"),
    (signed_text_that_is_no_json, "content"),
    (signed_json_that_is_no_receipt, "content"),
    (signed_deep_json, "content"),
    (the_manifest_handed_back, "content"),
    (of_a_later_version, "content"),
    (without("typ"), "content"),
    (without("v"), "content"),
    (under_a_header_without_typ, "content"),
    (under_a_header_that_says("dockd.manifest"), "content"),
    (under_a_header_that_says("JWT"), "content"),
    (under_a_header_that_says(None), "content"),
    (under_a_header_that_says(["dockd.receipt"]), "content"),
    (naming_another_receiver_key, "signer"),
    (asking_for_an_extension, "extension"),
    (asking_for_an_unknown_extension, "extension"),
    (with_a_detached_payload, "extension"),
    (with_a_kid_that_is_no_text, "malformed"),
    (huge, "too-large"),
    (a_web_page, "malformed"),
    (a_deep_header, "malformed"),
    (lambda: "", "malformed"),
    (lambda: "..", "malformed"),
    (lambda: "\ud800.\ud800.\ud800", "malformed"),
    (lambda: "null", "malformed"),
]


@pytest.mark.parametrize(("make", "reason"), REFUSED)
def test_a_receipt_that_must_not_release_a_wipe_is_refused(
    make: Callable[[], str], reason: str
) -> None:
    assert refused(make()) == reason


def test_no_edit_of_a_single_character_passes() -> None:
    token = receipt_token()
    for position, character in enumerate(token):
        changed = "A" if character != "A" else "B"
        assert refused(token[:position] + changed + token[position + 1 :])


def test_no_truncation_passes() -> None:
    token = receipt_token()
    for length in range(len(token)):
        assert refused(token[:length])


@pytest.mark.parametrize("recipients", [[ALICE], [ALICE, BOB], [CAROL, BOB, ALICE]])
def test_another_stations_upload_of_the_clip_releases_nothing(recipients: list[str]) -> None:
    other = make_manifest(
        OTHER_STATION,
        station="soho-01",
        ciphertext=Content(sha256="3" * 64, size=1300),
        recipients=recipients,
    )
    brought = sign(other, OTHER_STATION)
    assert refused(sign(make_receipt(RECEIVER, other, brought), RECEIVER)) == "other-manifest"


def test_an_upload_of_ones_own_under_another_manifest_releases_nothing() -> None:
    earlier = make_manifest(STATION, docking="0")
    token = sign(make_receipt(RECEIVER, earlier, sign(earlier, STATION)), RECEIVER)
    assert refused(token) == "other-manifest"


@pytest.mark.parametrize("stored_at", ["1999-01-01T00:00:00.000Z", "2026-11-20T09:59:59.999Z"])
def test_a_receipt_from_before_the_clip_was_sealed_is_refused(stored_at: str) -> None:
    assert refused(receipt_token(stored_at=stored_at)) == "stored-before-sealed"


def test_clocks_that_differ_by_a_time_zone_keep_no_receipt_from_counting() -> None:
    token = receipt_token(stored_at="2026-11-21T01:00:00.000Z")
    assert verify_receipt(token, [RECEIVER.verify_key], TOKEN).stored_at < MANIFEST.sealed_at


def members_as_text(**replaced: str) -> bytes:
    """A receipt's payload in which a member's value is any text."""
    text = payload_of(receipt()).decode()
    for name, value in replaced.items():
        start = text.index(f'"{name}":') + len(name) + 3
        _, end = json.JSONDecoder().raw_decode(text, start)
        text = text[:start] + value + text[end:]
    return text.encode()


@pytest.mark.parametrize(
    "payload",
    [
        payload_of(receipt())[:-1] + b',"v":1}',
        payload_of(receipt())[:-1] + b',"clip_id":"' + b"e" * 64 + b'"}',
        payload_of(receipt()).replace(b'"size":1200', b'"size":1,"size":1200'),
        payload_of(receipt())[:-1] + b',"later":{"a":1,"a":2}}',
        payload_of(receipt())[:-1] + b',"later":Infinity}',
        payload_of(receipt())[:-1] + b',"later":[NaN]}',
        payload_of(receipt())[:-1] + b',"later":1e999}',
        payload_of(receipt())[:-1] + b',"later":' + b"9" * 4299 + b"}",
        payload_of(receipt())[:-1] + b',"later":9007199254740993}',
        payload_of(receipt())[:-1] + b',"later":"\\ud800"}',
        payload_of(receipt())[:-1] + b',"later":["\\ud800"]}',
        payload_of(receipt())[:-1] + b',"later":[{"a":1},["x",["\\udc00"]]]}',
        b"\xef\xbb\xbf" + payload_of(receipt()),
        payload_of(receipt()).decode().encode("utf-16"),
        payload_of(receipt()) + b"{}",
        payload_of(receipt()).replace(b"evidence-1", b"evidence-\xff"),
        members_as_text(v="true"),
        members_as_text(v="1.0"),
        members_as_text(v="1e0"),
        members_as_text(v='"1"'),
        members_as_text(ciphertext='{"sha256":"' + "2" * 64 + '","size":1200.0}'),
        members_as_text(ciphertext='{"sha256":"' + "2" * 64 + '","size":true}'),
        members_as_text(stored_at='"9999-99-99T00:00:00.000Z"'),
        members_as_text(stored_at='"2026-02-30T00:00:00.000Z"'),
        members_as_text(stored_at='"2026-11-21T24:00:01.000Z"'),
        members_as_text(stored_at='"0000-11-21T12:00:00.000Z"'),
    ],
)
def test_a_payload_in_which_two_readers_might_see_different_things_is_refused(
    payload: bytes,
) -> None:
    assert refused(signed(HEADER, payload)) == "content"


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"none","alg":"EdDSA","kid":"%s","typ":"dockd.receipt"}' % RECEIVER.kid.encode(),
        b'\xef\xbb\xbf{"alg":"EdDSA","kid":"%s","typ":"dockd.receipt"}' % RECEIVER.kid.encode(),
        b'["EdDSA"]',
    ],
)
def test_a_header_in_which_two_readers_might_see_different_things_is_refused(
    header: bytes,
) -> None:
    assert refused(signed(header, payload_of(receipt()))) == "malformed"


@pytest.mark.parametrize("spoil", [lambda t: t + "=", lambda t: t + "==", lambda t: t + "\n"])
def test_a_signature_in_another_form_is_refused(spoil: Callable[[str], str]) -> None:
    assert refused(spoil(receipt_token())) == "malformed"


def test_spare_bits_of_a_signature_are_zero() -> None:
    token = receipt_token()  # 64 bytes: the last of 86 characters carries two bits
    last = "AQgw".index(token[-1])
    assert refused(token[:-1] + "BRhx"[last]) == "malformed"


# Answers to questions of one's own

NONCE = "n" * 32


def answer_token(key: SigningKey = RECEIVER, **changes: Any) -> str:
    answer = Answer(
        nonce=NONCE,
        clip_id=MANIFEST.clip_id,
        manifest_sha256=statement_sha256(TOKEN),
        receipt_sha256=statement_sha256(receipt_token()),
        receiver=Signer(id="evidence-1", kid=key.kid),
        read_at="2026-11-21T12:01:00.000Z",
        answered_at="2026-11-21T12:01:01.000Z",
    )
    return sign(answer.model_copy(update=changes), key)


def answer_refused(token: str) -> str:
    with pytest.raises(ReceiptRefusedError) as caught:
        verify_answer(token, [RECEIVER.verify_key], nonce=NONCE, receipt_token=receipt_token())
    return caught.value.reason


def test_the_answer_to_ones_own_question_counts() -> None:
    answer = verify_answer(
        answer_token(), [RECEIVER.verify_key], nonce=NONCE, receipt_token=receipt_token()
    )
    assert answer.read_at == "2026-11-21T12:01:00.000Z"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (answer_token(nonce="o" * 32), "nonce"),
        (answer_token(receipt_sha256="3" * 64), "other-receipt"),
        (answer_token(STRANGER), "unknown-key"),
        (answer_token(receiver=Signer(id="evidence-1", kid=STRANGER.kid)), "signer"),
        (answer_token(nonce="short"), "content"),
        (receipt_token(), "content"),
        ("", "malformed"),
    ],
)
def test_an_answer_to_another_question_does_not(token: str, reason: str) -> None:
    assert answer_refused(token) == reason


def test_while_keys_rotate_receipts_by_the_old_and_the_new_key_count() -> None:
    new = SigningKey.generate()
    pinned = [RECEIVER.verify_key, new.verify_key]
    for key in (RECEIVER, new):
        token = sign(make_receipt(key, MANIFEST, TOKEN), key)
        assert verify_receipt(token, pinned, TOKEN).receiver.kid == key.kid
    with pytest.raises(ReceiptRefusedError) as caught:
        verify_receipt(receipt_token(), [new.verify_key], TOKEN)
    assert caught.value.reason == "unknown-key"


def test_without_pinned_keys_no_receipt_counts() -> None:
    with pytest.raises(ReceiptRefusedError) as caught:
        verify_receipt(receipt_token(), [], TOKEN)
    assert caught.value.reason == "unknown-key"


def test_members_that_are_not_known_are_ignored() -> None:
    extended = json.dumps(receipt().model_dump() | {"later": ["more"]}).encode()
    assert verify_receipt(signed(HEADER, extended), [RECEIVER.verify_key], TOKEN) == receipt()


# Manifests


ENROLLED = {STATION.kid: STATION.verify_key}
MANIFEST_HEADER = {"alg": "EdDSA", "kid": STATION.kid, "typ": "dockd.manifest"}


def manifest_refused(token: str) -> str:
    with pytest.raises(ManifestRefusedError) as caught:
        verify_manifest(token, ENROLLED)
    return caught.value.reason


def test_a_stations_manifest_is_accepted() -> None:
    assert verify_manifest(TOKEN, ENROLLED) == MANIFEST


def test_a_manifest_by_a_station_that_is_not_enrolled_is_refused() -> None:
    stranger = sign(make_manifest(OTHER_STATION), OTHER_STATION)
    assert manifest_refused(stranger) == "unknown-key"


def test_a_manifest_that_names_another_key_than_its_signers_is_refused() -> None:
    assert manifest_refused(sign(make_manifest(OTHER_STATION), STATION)) == "signer"


def test_a_manifest_whose_clip_id_is_not_that_of_its_content_is_refused() -> None:
    claimed = make_manifest(STATION, clip_id="e" * 64)
    assert manifest_refused(sign(claimed, STATION)) == "clip-id"


@pytest.mark.parametrize(
    "change",
    [
        {"clip_id": "E" * 64},
        {"clip_id": "e" * 64 + "\n"},
        {"clip_id": "../" * 22},
        {"recipients": []},
        {"recipients": ["alice"]},
        {"plaintext": {"sha256": "1" * 64, "size": -1}},
        {"plaintext": {"sha256": "1" * 64, "size": 10.5}},
        {"plaintext": {"sha256": "1" * 64, "size": "1000"}},
        {"station": {"id": "camden\n07", "kid": STATION.kid}},
        {"station": {"id": "camden\x8507", "kid": STATION.kid}},
        {"station": {"id": "", "kid": STATION.kid}},
        {"camera": {"profile": "generic\x9b", "serial": "CAM-0001"}},
        {"sealed_at": "yesterday"},
        {"docking": None},
        {"typ": "dockd.receipt"},
        {"v": 2},
    ],
)
def test_a_manifest_with_a_malformed_member_is_refused(change: dict[str, Any]) -> None:
    payload = json.dumps(MANIFEST.model_dump() | change).encode()
    assert manifest_refused(signed(MANIFEST_HEADER, payload, STATION)) == "content"


@pytest.mark.parametrize("member", ["typ", "v"])
def test_a_manifest_that_does_not_say_what_it_is_is_refused(member: str) -> None:
    members = MANIFEST.model_dump()
    del members[member]
    token = signed(MANIFEST_HEADER, json.dumps(members).encode(), STATION)
    assert manifest_refused(token) == "content"
    with pytest.raises(ManifestRefusedError):
        read_unverified_manifest(token)


@pytest.mark.parametrize("header", [{}, {"typ": "dockd.receipt"}, {"typ": "JWT"}])
def test_a_manifest_whose_header_says_otherwise_is_refused(header: dict[str, str]) -> None:
    header = {"alg": "EdDSA", "kid": STATION.kid, **header}
    assert manifest_refused(signed(header, payload_of(MANIFEST), STATION)) == "content"


def test_ones_own_manifest_is_read_back_as_it_was_signed() -> None:
    assert read_unverified_manifest(TOKEN) == MANIFEST


@pytest.mark.parametrize("token", ["", "a.b.c", "<html>", receipt_token()])
def test_what_is_no_manifest_is_not_read_as_one(token: str) -> None:
    with pytest.raises(ManifestRefusedError):
        read_unverified_manifest(token)


def test_text_beyond_ascii_survives_signing() -> None:
    facts = MANIFEST.file.model_copy(
        update={"path": "DCIM/Straße 𝄞.mp4", "metadata": {"officer": "Žižek"}}
    )
    manifest = make_manifest(STATION, file=facts)
    assert verify_manifest(sign(manifest, STATION), ENROLLED).file == facts


def test_a_clip_id_is_what_the_shell_computes() -> None:
    command = 'printf \'dockd clip v1\\n%s\\n%s\\n\' "$1" "$2" | sha256sum'
    printed = subprocess.run(
        ["sh", "-c", command, "sh", "generic:CAM-0001", PLAINTEXT.sha256],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert printed.split()[0] == derive_clip_id("generic:CAM-0001", PLAINTEXT.sha256)


def test_a_clip_id_tells_cameras_and_contents_apart() -> None:
    ids = {derive_clip_id(camera, sha256) for camera in ("a:1", "a:2") for sha256 in ("3", "4")}
    assert len(ids) == 4


def test_a_statement_is_named_by_the_digest_of_its_compact_form() -> None:
    assert statement_sha256(TOKEN) == hashlib.sha256(TOKEN.encode("ascii")).hexdigest()


# An independent implementation of JOSE: it prefers RFC 9864's name "Ed25519" for "EdDSA"

with_eddsa = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")


def okp(key: SigningKey | VerifyKey) -> OKPKey:
    return OKPKey.import_key(key.pem())


@with_eddsa
@pytest.mark.parametrize(
    ("token", "key", "statement"), [(TOKEN, STATION, MANIFEST), (receipt_token(), RECEIVER, None)]
)
def test_joserfc_verifies_what_dockd_signs(
    token: str, key: SigningKey, statement: Manifest | None
) -> None:
    checked = jws.deserialize_compact(token, okp(key.verify_key), algorithms=["EdDSA"])
    header = checked.headers()
    assert header["kid"] == key.kid == okp(key.verify_key).thumbprint()
    members = json.loads(checked.payload or b"")
    assert header["typ"] == members["typ"]
    assert members == (statement or receipt()).model_dump()


@with_eddsa
def test_joserfc_refuses_what_was_altered() -> None:
    with pytest.raises(BadSignatureError):
        jws.deserialize_compact(edited(), okp(RECEIVER.verify_key), algorithms=["EdDSA"])


@with_eddsa
def test_dockd_verifies_what_joserfc_signs() -> None:
    token = jws.serialize_compact(
        MANIFEST_HEADER, payload_of(MANIFEST), okp(STATION), algorithms=["EdDSA"]
    )
    assert verify_manifest(token, ENROLLED) == MANIFEST
    token = jws.serialize_compact(
        HEADER, payload_of(receipt()), okp(RECEIVER), algorithms=["EdDSA"]
    )
    assert verify_receipt(token, [RECEIVER.verify_key], TOKEN) == receipt()

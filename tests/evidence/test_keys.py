import codecs
import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from joserfc.jwk import OKPKey

from dockd.base.errors import KeyFileError
from dockd.evidence.keys import (
    Role,
    SigningKey,
    VerifyKey,
    pem_path,
    read_secret_file,
    read_token,
    receiver_keys,
    write_public_file,
    write_secret_file,
)
from dockd.host.files import Files
from tests.support import fill, small_disk


def test_a_key_written_to_files_is_read_back(tmp_path: Path) -> None:
    key = SigningKey.generate()
    write_secret_file(tmp_path / "station.key", key.pem())
    (tmp_path / "station.key.pub").write_bytes(key.verify_key.pem())
    assert SigningKey.load(tmp_path / "station.key").pem() == key.pem()
    assert VerifyKey.load(tmp_path / "station.key.pub") == key.verify_key


def test_openssl_signs_and_verifies_with_the_files(tmp_path: Path) -> None:
    private, public = tmp_path / "key", tmp_path / "pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    private.chmod(0o600)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    key = SigningKey.load(private)
    assert VerifyKey.load(public) == key.verify_key
    assert public.read_bytes() == key.verify_key.pem()
    message, signature = tmp_path / "message", tmp_path / "signature"
    message.write_bytes(b"what was said")
    signature.write_bytes(key.private.sign(b"what was said"))
    verify = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin"]
    files = ["-in", str(message), "-sigfile", str(signature), "-inkey", str(public)]
    subprocess.run([*verify, *files], check=True, capture_output=True)


def test_a_keys_name_is_its_jwk_thumbprint() -> None:
    # RFC 8037, appendix A.2 and A.3.
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key()
    assert VerifyKey.of(public).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_joserfc_names_a_key_alike() -> None:
    key = SigningKey.generate()
    assert OKPKey.import_key(key.verify_key.pem()).thumbprint() == key.kid


@pytest.mark.parametrize(
    ("write", "mode"), [(write_secret_file, 0o600), (write_public_file, 0o644)]
)
@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_a_secret_file_is_its_owners_alone_and_a_public_one_everybodys_whatever_the_umask(
    tmp_path: Path, write: Callable[[Path, bytes], None], mode: int, umask: int
) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / "key", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == mode
    assert (tmp_path / "key").read_bytes() == b"content"


class Recording(Files):
    """Notes the steps that make a file durable."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def write(self, fd: int, data: bytes | memoryview) -> None:
        super().write(fd, data)
        self.steps.append("write")

    def fsync(self, fd: int) -> None:
        super().fsync(fd)
        self.steps.append("fsync")

    def fsync_folder(self, folder: Path) -> None:
        super().fsync_folder(folder)
        self.steps.append(f"fsync {folder}")


@pytest.mark.parametrize("write", [write_secret_file, write_public_file])
def test_a_key_file_is_durable_with_its_name(
    tmp_path: Path, write: Callable[[Path, bytes, Files], None]
) -> None:
    files = Recording()
    write(tmp_path / "key", b"content", files)
    assert files.steps == ["write", "fsync", f"fsync {tmp_path}"]


@pytest.mark.parametrize("dangling", [False, True])
def test_a_secret_file_replaces_nothing(tmp_path: Path, dangling: bool) -> None:
    path = tmp_path / "key"
    if dangling:
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes(b"in use")
    with pytest.raises(KeyFileError, match="exists already"):
        write_secret_file(path, b"new")
    assert not (tmp_path / "elsewhere").exists()
    assert dangling or path.read_bytes() == b"in use"


def test_a_secret_file_in_a_missing_folder_is_a_key_file_error(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        write_secret_file(tmp_path / "nowhere" / "key", b"secret")


def test_a_full_disk_leaves_no_half_a_key(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="64k") as disk:
        fill(disk)
        with pytest.raises(KeyFileError, match="No space"):
            write_secret_file(disk / "key", bytes(5000))
        assert not (disk / "key").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_secret_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "station.key"
    path.write_bytes(SigningKey.generate().pem())
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="others") as caught:
        SigningKey.load(path)
    assert caught.value.hint == f"chmod 600 {path}"


def test_a_systemd_credential_is_taken_with_the_mode_that_systemd_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "credentials" / "token"
    path.parent.mkdir()
    path.write_bytes(b"secret")
    path.chmod(0o440)
    with pytest.raises(KeyFileError):
        read_secret_file(path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(path.parent))
    assert read_secret_file(path) == b"secret"


def test_a_missing_key_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"station\.key: No such file") as caught:
        SigningKey.load(tmp_path / "station.key")
    assert caught.value.hint


def pem(encryption: NoEncryption | BestAvailableEncryption) -> bytes:
    private = Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not an unencrypted PEM private key"),
        (b"<html>", "not an unencrypted PEM private key"),
        (SigningKey.generate().verify_key.pem(), "not an unencrypted PEM private key"),
        (pem(BestAvailableEncryption(b"password")), "not an unencrypted PEM private key"),
        (
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            ),
            "not an Ed25519 key",
        ),
    ],
)
def test_what_is_no_signing_key_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "station.key"
    write_secret_file(path, content)
    with pytest.raises(KeyFileError, match=problem):
        SigningKey.load(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x00\xff", "not a PEM public key"),
        (SigningKey.generate().pem(), "not a PEM public key"),
        (
            ec.generate_private_key(ec.SECP256R1())
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "not an Ed25519 key",
        ),
    ],
)
def test_what_is_no_verify_key_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(KeyFileError, match=f"receiver.pub is {problem}"):
        VerifyKey.parse(content, "receiver.pub")


def test_a_signing_key_does_not_show_its_secret() -> None:
    key = SigningKey.generate()
    assert "private" not in repr(key)
    assert json.dumps(key.kid) in repr(key).replace("'", '"')


@pytest.mark.parametrize("role", ["station", "receiver"])
def test_a_key_says_whose_it_is_and_openssl_reads_it_all_the_same(
    tmp_path: Path, role: Role
) -> None:
    key = SigningKey.generate()
    private, public = tmp_path / "key", tmp_path / "key.pub"
    write_secret_file(private, key.pem(role))
    public.write_bytes(key.verify_key.pem(role))
    assert SigningKey.load(private, role).pem() == SigningKey.load(private).pem() == key.pem()
    assert VerifyKey.load(public, role) == VerifyKey.load(public) == key.verify_key
    other: Role = "station" if role == "receiver" else "receiver"
    for load in (lambda: SigningKey.load(private, other), lambda: VerifyKey.load(public, other)):
        with pytest.raises(KeyFileError, match=f"is a {role}'s key, but must be a {other}'s"):
            load()
    assert OKPKey.import_key(public.read_bytes()).thumbprint() == key.kid
    made = subprocess.run(
        ["openssl", "pkey", "-in", private, "-pubout"], capture_output=True, check=True
    )
    assert made.stdout == key.verify_key.pem()


def test_a_key_that_does_not_say_whose_it_is_is_taken(tmp_path: Path) -> None:
    key = SigningKey.generate()
    (tmp_path / "pub").write_bytes(b"# of the receiver\n" + key.verify_key.pem())
    assert VerifyKey.load(tmp_path / "pub", "receiver") == key.verify_key


def test_a_stations_own_key_is_no_receivers(tmp_path: Path) -> None:
    own, other = SigningKey.generate(), SigningKey.generate()
    (tmp_path / "own").write_bytes(own.verify_key.pem())
    (tmp_path / "other").write_bytes(other.verify_key.pem())
    assert receiver_keys([tmp_path / "other"], own) == [other.verify_key]
    with pytest.raises(KeyFileError, match="this station's own key"):
        receiver_keys([tmp_path / "other", tmp_path / "own"], own)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pem: codecs.BOM_UTF8 + pem,
        lambda pem: pem.replace(b"\n", b"\r\n"),
        lambda pem: pem.decode().replace("\n", "\r\n").encode("utf-16"),
        lambda pem: b"\n\n  " + pem.replace(b"\n", b"  \n  "),
    ],
)
def test_keys_are_read_as_editors_leave_them(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    key = SigningKey.generate()
    write_secret_file(tmp_path / "key", spoil(key.pem("station")))
    (tmp_path / "pub").write_bytes(spoil(key.verify_key.pem("station")))
    assert SigningKey.load(tmp_path / "key", "station").pem() == key.pem()
    assert VerifyKey.load(tmp_path / "pub", "station") == key.verify_key
    with pytest.raises(KeyFileError, match="station's key"):
        VerifyKey.load(tmp_path / "pub", "receiver")
    with pem_path(tmp_path / "pub") as path:
        assert VerifyKey.load(path) == key.verify_key
    with pem_path(tmp_path / "key", secret=True) as path:
        assert load_pem_private_key(path.read_bytes(), password=None)


def test_a_file_that_openssl_reads_is_left_to_it(tmp_path: Path) -> None:
    for data in (b"-----BEGIN X-----\r\n", b"M\xfcller\n-----BEGIN X-----\n"):
        (tmp_path / "x").write_bytes(data)
        with pem_path(tmp_path / "x") as path:
            assert path == tmp_path / "x"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            b"-----BEGIN PUBLIC KEY-----\n".decode().encode("utf-16-le"),
            "UTF-16 without a byte order mark",
        ),
        (b"", "begins with -----BEGIN"),
        (b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "it holds CERTIFICATE"),
        (SigningKey.generate().pem(), "it holds PRIVATE KEY"),
    ],
)
def test_what_is_no_public_key_is_named(data: bytes, told: str) -> None:
    with pytest.raises(KeyFileError) as refused:
        VerifyKey.parse(data, "it")
    assert told in f"{refused.value.message} {refused.value.hint}"


@pytest.mark.parametrize(
    "written",
    [
        b"abc.DEF-1~+/==",
        b"abc.DEF-1~+/==\r\n",
        b"\xef\xbb\xbf abc.DEF-1~+/== \r\n\r\n",
        "abc.DEF-1~+/==\r\n".encode("utf-16"),
        b'"abc.DEF-1~+/=="\n',
        b"'abc.DEF-1~+/=='\n",
        b"Bearer abc.DEF-1~+/==\n",
        b"bearer  abc.DEF-1~+/==",
        b"Authorization: Bearer abc.DEF-1~+/==",
        b'"Bearer abc.DEF-1~+/=="',
        b'Bearer "abc.DEF-1~+/=="',
    ],
)
def test_a_token_is_read_without_what_people_write_around_it(
    tmp_path: Path, written: bytes
) -> None:
    write_secret_file(tmp_path / "token", written)
    assert read_token(tmp_path / "token") == "abc.DEF-1~+/=="


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"", "is empty"),
        (b" \r\n", "is empty"),
        (b"abc\ndef\n", "several lines"),
        (b"abc def", "characters that no token has"),
        ("“abc”".encode(), "U+201C"),
        ("abc\N{NO-BREAK SPACE}d".encode(), "U+00A0"),
        (b"abc\xff", "not UTF-8"),
        ("abc".encode("utf-16-be"), "UTF-16 without a byte order mark"),
    ],
)
def test_what_is_no_token_is_named_and_not_shown(tmp_path: Path, written: bytes, told: str) -> None:
    write_secret_file(tmp_path / "token", written)
    with pytest.raises(KeyFileError) as refused:
        read_token(tmp_path / "token")
    assert told in refused.value.message
    assert "abc" not in refused.value.message.removeprefix(str(tmp_path))

"""Files go both ways between dockd and other implementations of age."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pyrage
import pytest

from dockd.evidence.age import (
    TAG,
    HybridIdentity,
    Identity,
    Sealer,
    X25519Identity,
    decrypt_file,
    open_stream,
    parse_identities,
)
from tests.evidence.age.support import BLOCK, EDGE_SIZES, open_all, plaintext_of, seal
from tests.fetching import alone

IDENTITIES = [X25519Identity.generate() for _ in range(3)]
HYBRID_IDENTITIES = [HybridIdentity.generate() for _ in range(2)]
GO_AGE = "filippo.io/age/cmd/age@v1.3.1"
OVER_4_GIB = (1 << 32) + 5


@pytest.fixture(scope="session")
def debian_age() -> str:
    program = shutil.which("age")
    if program is None:
        pytest.skip("the age command is not installed")
    return program


@pytest.fixture(scope="session")
def go_age() -> str:
    """The first implementation of the hybrid type, built once through the Go module proxy."""
    folder = Path(__file__).parents[3] / ".cache" / GO_AGE.replace("/", "-")
    program = folder / "age"
    with alone("go"):
        if not program.exists():
            if shutil.which("go") is None:
                pytest.skip("go is not installed, so age 1.3 can't be built")
            environment = os.environ | {"GOBIN": str(folder), "GOFLAGS": "-mod=mod"}
            subprocess.run(["go", "install", GO_AGE], env=environment, check=True)
    return str(program)


def age_opens(age: str, sealed: bytes, identity: Identity, folder: Path) -> bytes:
    key_file = folder / "identity"
    key_file.write_text(f"{identity}\n")
    command = [age, "--decrypt", "--identity", str(key_file)]
    return subprocess.run(command, input=sealed, stdout=subprocess.PIPE, check=True).stdout


def age_seals(age: str, plaintext: bytes, identities: Sequence[Identity], *options: str) -> bytes:
    command = [age, *options]
    for identity in identities:
        command += ["--recipient", str(identity.recipient)]
    return subprocess.run(command, input=plaintext, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("size", EDGE_SIZES)
def test_debians_age_opens_what_dockd_seals(debian_age: str, size: int, tmp_path: Path) -> None:
    sealed = seal(plaintext_of(size), [identity.recipient for identity in IDENTITIES])

    for identity in IDENTITIES:
        assert age_opens(debian_age, sealed, identity, tmp_path) == plaintext_of(size)


@pytest.mark.parametrize("options", [(), ("--armor",)], ids=["binary", "armored"])
@pytest.mark.parametrize("size", EDGE_SIZES)
def test_dockd_opens_what_debians_age_seals(
    debian_age: str, size: int, options: tuple[str, ...], tmp_path: Path
) -> None:
    source, output = tmp_path / "clip.age", tmp_path / "clip"
    source.write_bytes(age_seals(debian_age, plaintext_of(size), IDENTITIES, *options))

    for identity in IDENTITIES:
        decrypt_file(source, output, [identity])
        assert output.read_bytes() == plaintext_of(size)
        output.unlink()


@pytest.mark.parametrize("size", EDGE_SIZES)
def test_pyrage_opens_what_dockd_seals(size: int) -> None:
    sealed = seal(plaintext_of(size), [identity.recipient for identity in IDENTITIES])

    for identity in IDENTITIES:
        theirs = pyrage.x25519.Identity.from_str(str(identity))
        assert pyrage.decrypt(sealed, [theirs]) == plaintext_of(size)


@pytest.mark.parametrize("armored", [False, True])
@pytest.mark.parametrize("size", EDGE_SIZES)
def test_dockd_opens_what_pyrage_seals(size: int, armored: bool) -> None:
    recipients = [
        pyrage.x25519.Recipient.from_str(str(identity.recipient)) for identity in IDENTITIES
    ]
    sealed = pyrage.encrypt(plaintext_of(size), recipients, armored=armored)

    for identity in IDENTITIES:
        assert open_all(sealed, [identity]) == plaintext_of(size)


def test_dockd_and_pyrage_read_each_others_keys() -> None:
    ours, theirs = X25519Identity.generate(), pyrage.x25519.Identity.generate()
    [theirs_as_ours] = parse_identities(str(theirs))
    ours_as_theirs = pyrage.x25519.Identity.from_str(str(ours))

    assert str(ours_as_theirs.to_public()) == str(ours.recipient)
    assert str(theirs_as_ours.recipient) == str(theirs.to_public())


@pytest.mark.slow
@pytest.mark.parametrize("size", EDGE_SIZES)
def test_age_opens_what_dockd_seals_to_hybrid_recipients(
    go_age: str, size: int, tmp_path: Path
) -> None:
    sealed = seal(plaintext_of(size), [identity.recipient for identity in HYBRID_IDENTITIES])

    for identity in HYBRID_IDENTITIES:
        assert age_opens(go_age, sealed, identity, tmp_path) == plaintext_of(size)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--armor",)], ids=["binary", "armored"])
@pytest.mark.parametrize("size", EDGE_SIZES)
def test_dockd_opens_what_age_seals_to_hybrid_recipients(
    go_age: str, size: int, options: tuple[str, ...]
) -> None:
    sealed = age_seals(go_age, plaintext_of(size), HYBRID_IDENTITIES, *options)

    for identity in HYBRID_IDENTITIES:
        assert open_all(sealed, [identity]) == plaintext_of(size)


@pytest.mark.slow
def test_debians_age_opens_more_than_4_gib(debian_age: str, tmp_path: Path) -> None:
    key_file = tmp_path / "identity"
    key_file.write_text(f"{IDENTITIES[0]}\n")
    sealer = Sealer([IDENTITIES[0].recipient])
    block = memoryview(bytearray(BLOCK))
    out = memoryview(bytearray(BLOCK + 4 * TAG))
    digest = hashlib.sha256()

    with (
        subprocess.Popen(
            [debian_age, "--decrypt", "--identity", str(key_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as age,
        subprocess.Popen(["sha256sum"], stdin=age.stdout, stdout=subprocess.PIPE) as sha256sum,
    ):
        assert age.stdin is not None
        assert age.stdout is not None
        age.stdout.close()
        age.stdin.write(sealer.prologue)
        left = OVER_4_GIB
        while left:
            # Blocks differ, so that none of them can stand in for another.
            block[:8] = left.to_bytes(8, "big")
            plaintext = block[:left]
            left -= len(plaintext)
            digest.update(plaintext)
            age.stdin.write(out[: sealer.seal_into(plaintext, out, final=not left)])
        age.stdin.close()
        assert sha256sum.stdout is not None
        printed = sha256sum.stdout.read()

    assert age.returncode == 0
    assert printed.split()[0].decode() == digest.hexdigest()


@pytest.mark.slow
def test_dockd_opens_more_than_4_gib_of_debians_age(debian_age: str, tmp_path: Path) -> None:
    sparse = tmp_path / "clip"
    with sparse.open("wb") as file:
        file.truncate(OVER_4_GIB)
        file.seek(1 << 31)
        file.write(b"the middle")
    with sparse.open("rb") as file:
        expected = hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    size = 0

    command = [debian_age, "--recipient", str(IDENTITIES[0].recipient), str(sparse)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as age:
        assert age.stdout is not None
        for chunk in open_stream(age.stdout, IDENTITIES):
            digest.update(chunk)
            size += len(chunk)

    assert size == OVER_4_GIB
    assert digest.hexdigest() == expected

"""The public C2SP CCTV vectors: a Go module that ``make test`` fetches where there is Go.

Those that need a passphrase are left out: dockd has none, and leaves such files to age.
"""

import hashlib
import io
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dockd.base.errors import (
    AgeError,
    AgeHeaderError,
    AgeHmacError,
    AgeNoMatchError,
    AgePayloadError,
)
from dockd.evidence.age import open_stream, parse_identities

FOLDER = Path(__file__).parents[3] / ".cache" / "age-vectors"
EXPECTED_ERRORS: dict[str, tuple[type[AgeError], ...]] = {
    "no match": (AgeNoMatchError,),
    "HMAC failure": (AgeHmacError,),
    "header failure": (AgeHeaderError,),
    "payload failure": (AgePayloadError,),
    # What isn't recognised as armor at all fails as a binary file would.
    "armor failure": (AgeError, AgeHeaderError),
}


@dataclass
class Vector:
    expect: str = ""
    payload: str = hashlib.sha256().hexdigest()
    identities: list[str] = field(default_factory=list)
    needs_passphrase: bool = False
    sealed: bytes = b""


def read_vector(path: Path) -> Vector:
    vector = Vector()
    head, _, body = path.read_bytes().partition(b"\n\n")
    compressed = False
    for line in head.decode("utf-8").splitlines():
        key, _, value = line.partition(": ")
        match key:
            case "expect":
                vector.expect = value
            case "payload":
                vector.payload = value
            case "identity":
                vector.identities.append(value)
            case "passphrase":
                vector.needs_passphrase = True
            case "compressed":
                assert value == "zlib"
                compressed = True
            case "file key" | "armored" | "comment":
                pass
            case _:
                raise ValueError(f"{path.name} has a key that this test doesn't know: {key}")
    vector.sealed = zlib.decompress(body) if compressed else body
    return vector


def vectors() -> dict[str, Vector]:
    if not FOLDER.is_dir():
        return {}
    read = {path.name: read_vector(path) for path in sorted(FOLDER.iterdir())}
    return {
        name: vector
        for name, vector in read.items()
        if vector.identities or not vector.needs_passphrase
    }


VECTORS = vectors()


def test_the_vectors_are_there() -> None:
    if not FOLDER.is_dir():
        pytest.skip("no CCTV age vectors: make test fetches them by Go")
    assert len(VECTORS) > 100


@pytest.mark.parametrize("name", VECTORS)
def test_a_cctv_vector_gives_the_expected_result(name: str) -> None:
    vector = VECTORS[name]
    identities = parse_identities("\n".join(vector.identities)) if vector.identities else []

    released = hashlib.sha256()
    error: AgeError | None = None
    try:
        for chunk in open_stream(io.BytesIO(vector.sealed), identities):
            released.update(chunk)
    except AgeError as caught:
        error = caught

    if vector.expect == "success":
        assert error is None
    else:
        assert type(error) in EXPECTED_ERRORS[vector.expect]
    assert released.hexdigest() == vector.payload

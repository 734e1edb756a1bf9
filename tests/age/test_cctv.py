"""The public C2SP CCTV vectors, from a folder that isn't part of this repository."""

import hashlib
import io
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dockd.age import open_stream, parse_identities
from dockd.errors import (
    AgeError,
    AgeHeaderError,
    AgeHmacError,
    AgeNoMatchError,
    AgePayloadError,
)

FOLDER = Path(os.environ.get("DOCKD_CCTV_AGE", Path(__file__).parents[3] / "shared" / "cctv-age"))
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
                pytest.skip(f"{path.name} has a key that this test doesn't know: {key}")
    vector.sealed = zlib.decompress(body) if compressed else body
    return vector


def vector_paths() -> list[Path]:
    if not FOLDER.is_dir():
        return []
    files = (path for path in FOLDER.iterdir() if path.is_file())
    return sorted(path for path in files if path.read_bytes().startswith(b"expect: "))


def test_the_vectors_are_there() -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"no CCTV age vectors in {FOLDER}; set DOCKD_CCTV_AGE to their folder")
    assert vector_paths()


@pytest.mark.parametrize("path", vector_paths(), ids=lambda path: path.name)
def test_a_cctv_vector_gives_the_expected_result(path: Path) -> None:
    vector = read_vector(path)
    if vector.needs_passphrase and not vector.identities:
        pytest.skip(f"{path.name} needs a passphrase, which dockd leaves to age")
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

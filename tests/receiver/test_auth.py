"""Who may do what: tokens and client certificates."""

import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trustme

from dockd.base.errors import ConfigError, KeyFileError
from dockd.receiver.listening import tls_context
from tests.receiver.support import (
    PATCH,
    TUS,
    Clip,
    Site,
    Station,
    ask,
    code,
    create,
    make_site,
    process,
    upload,
    with_receiver,
)

CAMDEN = Station("camden-07", token="camden's token")
SOHO = Station("soho-01", token="soho's token")
OPEN = Station("brixton-02")


def bearer(station: Station) -> dict[str, str]:
    return {"Authorization": f"Bearer {station.token}"}


def test_a_station_uploads_with_its_token(tmp_path: Path) -> None:
    site = make_site(tmp_path, CAMDEN, SOHO)

    async def scenario(client: httpx.AsyncClient) -> None:
        clip = CAMDEN.clip()
        site.receipt(await upload(client, clip, bearer(CAMDEN)), clip)
        assert (await client.get(f"/receipts/{clip.id}", headers=bearer(CAMDEN))).is_success
        response = await client.get(f"/receipts/{clip.id}", headers=bearer(SOHO))
        assert (response.status_code, code(response)) == (404, "clip-not-stored")

    with_receiver(site, scenario)


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer", "Bearer ", "Bearer wrong", "Basic Y2FtZGVuOng=", "Bearer camden's tokem"],
)
def test_without_a_known_token_nothing_is_answered(
    tmp_path: Path, authorization: str | None
) -> None:
    site = make_site(tmp_path, CAMDEN, SOHO)
    clip = CAMDEN.clip()
    headers = {"Authorization": authorization} if authorization is not None else {}

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, clip, bearer(CAMDEN))
        for method, address in [
            ("POST", "/files/"),
            ("HEAD", path),
            ("PATCH", path),
            ("DELETE", path),
            ("HEAD", "/files/unknown"),
            ("PUT", f"/receipts/{clip.id}"),
            ("GET", f"/receipts/{clip.id}"),
        ]:
            response = await client.request(method, address, headers={**TUS, **headers})
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert (method == "HEAD") or code(response) == "token-refused"

    with_receiver(site, scenario)


def test_a_token_opens_only_its_own_station_s_doors(tmp_path: Path) -> None:
    site = make_site(tmp_path, CAMDEN, SOHO)
    clip = CAMDEN.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, clip, bearer(CAMDEN))
        responses = [
            await client.post("/files/", headers={**clip.creation, **bearer(SOHO)}),
            await client.patch(path, content=b"x", headers={**PATCH, **bearer(SOHO)}),
            await client.delete(path, headers={**TUS, **bearer(SOHO)}),
            await ask(client, clip, headers=bearer(SOHO)),
        ]
        for response in responses:
            assert (response.status_code, code(response)) == (403, "other-station")

    with_receiver(site, scenario)


def test_a_station_without_a_token_needs_none_while_another_does(tmp_path: Path) -> None:
    site = make_site(tmp_path, CAMDEN, OPEN)

    async def scenario(client: httpx.AsyncClient) -> None:
        clip = OPEN.clip()
        site.receipt(await upload(client, clip), clip)
        response = await ask(client, CAMDEN.clip(b"other"))
        assert (response.status_code, code(response)) == (401, "token-refused")

    with_receiver(site, scenario)


def test_several_tokens_of_a_station_count_while_they_are_rotated(tmp_path: Path) -> None:
    site = make_site(tmp_path, CAMDEN)
    old = hashlib.sha256(b"old token").hexdigest()
    text = site.config_path.read_text()
    site.config_path.write_text(text.replace("tokens_sha256 = [", f'tokens_sha256 = ["{old}", '))

    async def scenario(client: httpx.AsyncClient) -> None:
        for token in ("old token", CAMDEN.token):
            response = await ask(
                client, CAMDEN.clip(), headers={"Authorization": f"bearer {token}"}
            )
            assert code(response) == "clip-not-stored"

    with_receiver(site, scenario)


def test_one_key_can_not_be_that_of_two_stations(tmp_path: Path) -> None:
    site = make_site(tmp_path, CAMDEN, Station("soho-01", key=CAMDEN.key))

    async def scenario(_client: httpx.AsyncClient) -> None:
        raise AssertionError("it started")

    with pytest.raises(ConfigError, match="duplicate public key"):
        with_receiver(site, scenario)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def write_certificate(tmp_path: Path, authority: trustme.CA) -> Callable[[str], tuple[Path, Path]]:
    """Return what writes a certificate and its key."""

    def write(name: str) -> tuple[Path, Path]:
        issued = authority.issue_cert(name)
        certificate, key = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        for blob in issued.cert_chain_pems:
            blob.write_to_path(str(certificate), append=True)
        issued.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        return certificate, key

    return write


@pytest.fixture
def tls_site(
    tmp_path: Path,
    authority: trustme.CA,
    write_certificate: Callable[[str], tuple[Path, Path]],
) -> Site:
    """Return a receiver that asks for client certificates."""
    write_certificate("localhost")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    listen = {
        "certificate": "localhost.pem",
        "certificate_key_file": "localhost.key",
        "client_ca_file": "ca.pem",
    }
    return make_site(tmp_path, OPEN, listen=listen)


def send(site: Site, address: str, clip: Clip, context: ssl.SSLContext) -> str:
    address = address.replace("127.0.0.1", "localhost")
    with httpx.Client(base_url=address, verify=context) as client:
        location = client.post("files/", headers={**clip.creation, **PATCH}, content=clip.data)
        assert location.status_code == 201
        headers = {"Content-Type": "application/jose", "Prefer": "wait=20"}
        return client.put(f"receipts/{clip.id}", content=clip.token, headers=headers).text


def test_a_client_with_a_certificate_uploads_and_one_without_is_turned_away(
    tmp_path: Path,
    tls_site: Site,
    authority: trustme.CA,
    write_certificate: Callable[[str], tuple[Path, Path]],
) -> None:
    clip = OPEN.clip()
    known, stranger, without = (
        ssl.create_default_context(cafile=str(tmp_path / "ca.pem")) for _ in range(3)
    )
    known.load_cert_chain(*write_certificate("station"))
    trustme.CA().issue_cert("station").configure_cert(stranger)
    with process(tls_site) as (_, address):
        assert address.startswith("https://")
        for context in (without, stranger):
            with pytest.raises(httpx.TransportError):
                send(tls_site, address, clip, context)
        tls_site.receipt(send(tls_site, address, clip, known), clip)


def test_tls_files_that_can_not_be_used_are_named(tmp_path: Path, tls_site: Site) -> None:
    (tmp_path / "localhost.pem").write_text("not a certificate")
    with pytest.raises(KeyFileError, match="TLS"):
        tls_context(tls_site.config.listen)
    (tmp_path / "localhost.key").chmod(0o644)
    with pytest.raises(KeyFileError, match="is readable by other users"):
        tls_context(tls_site.config.listen)

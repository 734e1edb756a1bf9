"""The HTTP client of targets: its credentials, and responses of limited size."""

import os
import ssl
from collections.abc import AsyncGenerator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path

import httpx

from dockd import __version__
from dockd.base.clock import Clock
from dockd.base.errors import KeyFileError, TargetDownError, TransientError
from dockd.base.threads import in_thread
from dockd.evidence.keys import read_token
from dockd.station.config import TargetConfig
from dockd.station.targets import proxies
from dockd.station.targets.failures import to_failure
from dockd.station.targets.reply import MAX_BODY, Reply, parse_retry_after
from dockd.station.targets.tls import open_tls

_PATIENCE = 2
"""A whole response may take this many read timeouts."""

Origin = tuple[str, str, int | None]


class BearerToken(httpx.Auth):
    """Sends a token to the configured origins only.

    The file is re-read for every request, so that a new token takes effect immediately.
    """

    def __init__(self, path: Path, origins: frozenset[Origin]) -> None:
        self._path = path
        self._origins = origins

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the token to a request.

        Raises:
            TransientError: the file can't be read, or contains no token.
        """
        if origin(request.url) in self._origins:
            request.headers["Authorization"] = f"Bearer {await in_thread(self._read)}"
        yield request

    def _read(self) -> str:
        try:
            return read_token(self._path)
        except (KeyFileError, OSError) as error:
            hint = "restore target.token_file"
            if isinstance(error, KeyFileError):
                hint = error.hint or hint
            raise TransientError(f"the token can't be read: {error}", hint=hint) from error


def origin(url: httpx.URL) -> Origin:
    """Return what identifies a server: scheme, host and port."""
    return url.scheme, url.host, url.port


def open_client(
    config: TargetConfig, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """Open the client of a target.

    Certificates are read here: new ones take effect with the next reload of the configuration.
    With ``ca_file`` only that CA is trusted, without it the system's CAs.

    Proxies are taken from the environment, see ``dockd.station.targets.proxies``, as operators
    expect of a service; TLS is end to end with the server. A server on loopback is always
    contacted directly.

    Args:
        config: the target's section of the configuration.
        transport: a test's replacement for the network.

    Raises:
        KeyFileError: a certificate or its key can't be used.
        ConfigError: an environment variable names an unusable proxy or certificates.
    """
    urls = [httpx.URL(url) for url in (config.url, config.receipts_url) if url is not None]
    auth = None
    if config.token_file is not None:
        auth = BearerToken(config.token_file, frozenset(origin(url) for url in urls))
    if any(url.scheme == "https" for url in urls):
        tls = open_tls(config)
    else:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts no CA, and needs no CA bundle
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=config.concurrency)
    mounts = {}
    for url in urls if transport is None else ():
        if (proxy := proxies.proxy_for(url, os.environ)) is not None:
            mounts[_pattern(url)] = proxies.transport(proxy, tls, limits)
    return httpx.AsyncClient(
        auth=auth,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # keeps none
        headers={"User-Agent": f"dockd/{__version__}", "Accept-Encoding": "identity"},
        verify=tls,
        timeout=httpx.Timeout(config.timeout_seconds, pool=None),
        limits=limits,
        follow_redirects=False,
        trust_env=False,
        mounts=mounts,
        transport=transport,
    )


def _pattern(url: httpx.URL) -> str:
    """Return httpx's pattern for all addresses of one server."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}" + (f":{url.port}" if url.port else "")


async def ask(client: httpx.AsyncClient, request: httpx.Request, clock: Clock) -> Reply:
    """Send a request and return the response, whatever its status.

    Sending may take as long as the link needs. The whole response may take twice the client's
    read timeout, which by itself limits each pause only.

    Raises:
        TransientError: there was no response.
    """
    seconds = client.timeout.read

    async def trace(step: str, _: object) -> None:
        if step == "socks.setup_socks5_connection.started" and seconds is not None:
            deadline.restart(_PATIENCE * seconds)
        elif step == "http11.send_request_headers.started":
            deadline.restart(None)  # what was received before is a proxy's response to CONNECT
        elif step == "http11.receive_response_headers.started" and seconds is not None:
            deadline.restart(_PATIENCE * seconds)

    request.extensions["trace"] = trace
    try:
        async with clock.timeout(None) as deadline:
            response = await client.send(request, stream=True)
            try:
                body = await _read_limited(response)
            finally:
                await response.aclose()
    except TimeoutError as error:
        raise TargetDownError(
            f"{request.url.host}: its response takes too long",
            hint="check the server and the network, or raise target.timeout_seconds",
        ) from error
    # httpcore lets ssl.SSLError through when a server refuses the client's certificate.
    except (httpx.TransportError, ssl.SSLError) as error:
        raise to_failure(request, error) from error
    return Reply(
        method=request.method,
        status=response.status_code,
        headers=response.headers,
        body=body,
        retry_after=parse_retry_after(response.headers.get("Retry-After", ""), clock.now()),
    )


async def _read_limited(response: httpx.Response) -> bytes:
    # Raw: decompressing a body, though none is requested, could exceed any limit.
    assert isinstance(response.stream, httpx.AsyncByteStream)
    body = bytearray()
    async for part in response.stream:
        body += part
        if len(body) > MAX_BODY:
            break
    return bytes(body[: MAX_BODY + 1])

"""The proxy for an address, from the environment variables that curl uses.

``https_proxy`` (or in capitals), else ``all_proxy``, names it, with or without a scheme, and
``no_proxy`` the hosts that are contacted directly: names including their subdomains, addresses,
networks such as ``fd00::/8``, or ``*``. An invalid value is a configuration error that names
only the variable: the value may contain a password.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import httpx

from dockd.base.errors import ConfigError

_SCHEMES = ("http", "https", "socks5", "socks5h")
_PORT = 1080
"""curl's default port of a proxy."""
_HINT = "write it as http://proxy.example:3128, or with https, socks5 or socks5h"


def proxy_for(url: httpx.URL, environment: Mapping[str, str]) -> httpx.Proxy | None:
    """Return the proxy for an address; None for a direct connection.

    Raises:
        ConfigError: a variable is not a valid proxy address.
    """
    name = next((one for one in _variables(url.scheme) if environment.get(one, "").strip()), None)
    if name is None or _is_loopback(url.host) or _is_exempt(url, environment):
        return None
    return _proxy(name, environment[name].strip())


def _variables(scheme: str) -> list[str]:
    # curl reads http_proxy in lower case only: in CGI, a request header can set HTTP_PROXY.
    names = [f"{scheme}_proxy", *([f"{scheme}_proxy".upper()] if scheme != "http" else [])]
    return [*names, "all_proxy", "ALL_PROXY"]


def _proxy(name: str, value: str) -> httpx.Proxy:
    scheme, separator, _ = value.partition("://")
    scheme = scheme.lower() if separator else "http"
    if scheme not in _SCHEMES:
        raise ConfigError(f"{name}: unsupported proxy scheme {scheme[:20]}://", hint=_HINT)
    try:
        parts = urlsplit(value if separator else f"http://{value}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _no_address(name, str(error)) from None
    if not host or re.search(r"[\s\x00-\x20]", value) or port == 0:
        raise _no_address(name, "port" if port == 0 else "host")
    port = port or (443 if scheme == "https" else _PORT)
    host = f"[{host}]" if ":" in host else host
    auth = None
    if parts.username is not None:
        auth = (unquote(parts.username), unquote(parts.password or ""))
    context = ssl.create_default_context() if scheme == "https" else None
    try:
        return httpx.Proxy(f"{scheme}://{host}:{port}", auth=auth, ssl_context=context)
    except httpx.InvalidURL as error:
        raise _no_address(name, str(error)) from None


def _no_address(name: str, why: str) -> ConfigError:
    what = "invalid port" if "port" in why.lower() else "it has no host"
    return ConfigError(f"{name} is not a proxy address: {what}", hint=_HINT)


def _is_exempt(url: httpx.URL, environment: Mapping[str, str]) -> bool:
    value = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    entries = [entry for entry in re.split(r"[\s,]+", value) if entry]
    return any(_fits(entry, url) for entry in entries)


def _fits(entry: str, url: httpx.URL) -> bool:
    if entry == "*":
        return True
    host = url.host.rstrip(".").lower()
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name, _, only = entry.lower().partition(":")
        name = name.removeprefix("*").strip(".")
        return bool(name) and f".{host}".endswith(f".{name}") and only in {"", str(port)}
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(\d+))?", entry)
    if bracketed:
        entry, only = bracketed[1], bracketed[2] or ""
    elif entry.count(":") == 1:
        entry, _, only = entry.partition(":")
    else:
        only = ""
    try:
        return only in {"", str(port)} and address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def transport(
    proxy: httpx.Proxy, tls: ssl.SSLContext, limits: httpx.Limits
) -> httpx.AsyncBaseTransport:
    """Return a transport through a proxy."""
    through = httpx.AsyncHTTPTransport(verify=tls, proxy=proxy, limits=limits, trust_env=False)
    if proxy.url.scheme not in {"socks5", "socks5h"}:
        return through
    return _Socks(through, resolves=proxy.url.scheme == "socks5")


class _Socks(httpx.AsyncBaseTransport):
    """Sends requests through a SOCKS proxy, and reports its invalid responses."""

    def __init__(self, through: httpx.AsyncHTTPTransport, *, resolves: bool) -> None:
        self._through = through
        self._resolves = resolves
        """Whether this machine resolves names, as with socks5://, and not the proxy."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            httpx.TransportError: it could not be sent, or there was no response.
        """
        if self._resolves:
            request = await _resolved(request)
        try:
            return await self._through.handle_async_request(request)
        except (httpx.TransportError, ssl.SSLError):
            raise
        except Exception as error:
            # httpcore does not validate a proxy's responses.
            raise httpx.ProxyError(f"it has no SOCKS 5: {type(error).__name__}") from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._through.aclose()


async def _resolved(request: httpx.Request) -> httpx.Request:
    """Return a request to the address of its host; TLS still checks the name."""
    host = request.url.host
    loop = asyncio.get_running_loop()
    port = request.url.port or 443
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpx.ConnectError(str(error), request=request) from error
    return httpx.Request(
        request.method,
        request.url.copy_with(host=str(found[0][4][0])),
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions | {"sni_hostname": host},
    )

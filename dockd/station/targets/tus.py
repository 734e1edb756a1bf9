"""Uploads by tus 1.0.0 (https://tus.io/protocols/resumable-upload), receipts by dockd.

Uses tus's core protocol, and the extensions creation and, where offered, checksum. Receipts
are described in docs/protocol.md.
"""

import base64
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import dataclass

import httpx

from dockd.base.clock import Clock
from dockd.base.concurrency import to_the_end
from dockd.base.errors import RejectedError, TargetError, TransientError
from dockd.station import events
from dockd.station.config import TargetConfig
from dockd.station.targets import NotStored, ReceiptAnswer, Received, Sealed, Verifying
from dockd.station.targets.bandwidth import Limiter
from dockd.station.targets.chunks import Chunk, SpoolFile
from dockd.station.targets.failures import to_error
from dockd.station.targets.health import TargetHealth
from dockd.station.targets.http import ask, origin
from dockd.station.targets.reply import Reply

TUS_VERSION = "1.0.0"
RECEIPT_WAIT_SECONDS = 10
"""How long the receiver may delay its response to a request for a receipt."""
PATIENCE = 3
"""How often one attempt queries the upload's offset and resumes from there."""

SMALLEST_PIECE = 64 * 1024
"""The minimum size of a PATCH, in bytes."""
_USUAL_LIMIT = 1 << 20
"""nginx's default limit of a request body."""

_GONE = frozenset({404, 410})
_UNKNOWN = _GONE | {403}
"""Statuses of HEAD for an unknown upload (tus 1.0.0, "HEAD")."""
_CHECKSUM_MISMATCH = frozenset({460, 417})  # 417 is rustus's


@dataclass(frozen=True)
class Abilities:
    """The features of a server that dockd can use, from its response to OPTIONS."""

    checksum: bool = False
    max_size: int | None = None

    @classmethod
    def of(cls, reply: Reply) -> "Abilities":
        """Read a response; one that isn't tus's offers nothing.

        Raises:
            TransientError: the tus server is incompatible.
        """
        if reply.status not in {200, 204} or "Tus-Version" not in reply.headers:
            return cls()
        extensions = _listed(reply, "Tus-Extension")
        if TUS_VERSION not in _listed(reply, "Tus-Version"):
            raise _nonsense(reply, f"it does not support tus {TUS_VERSION}")
        if "creation" not in extensions:
            raise _nonsense(reply, "it does not allow clients to create uploads")
        max_size = reply.headers.get("Tus-Max-Size", "")
        return cls(
            checksum="checksum" in extensions
            and "sha256" in _listed(reply, "Tus-Checksum-Algorithm"),
            max_size=int(max_size) if _is_number(max_size) else None,
        )


class TusTarget:
    """A tus server, with or without dockd's receipts."""

    def __init__(
        self,
        config: TargetConfig,
        client: httpx.AsyncClient,
        limiter: Limiter,
        clock: Clock,
        health: TargetHealth,
    ) -> None:
        """Make a target.

        Args:
            config: the server's address, and the chunk size.
            client: from :func:`dockd.station.targets.http.open_client`; closed with the target.
            limiter: the bandwidth that all uploads share.
            clock: the time that ``Retry-After`` dates are relative to.
            health: records the server's responses.
        """
        self._config = config
        self._client = client
        self._clock = clock
        self.limiter = limiter
        self.endpoint = httpx.URL(config.url)
        self.chunk_size = config.chunk_size
        self._abilities: Abilities | None = None
        self.health = health

    @property
    def gives_receipts(self) -> bool:
        """Whether the configuration has a receipts endpoint."""
        return self._config.receipts_url is not None

    async def receipt(self, sealed: Sealed, nonce: str) -> ReceiptAnswer:
        """See :meth:`dockd.station.targets.Target.receipt`."""
        if self._config.receipts_url is None:
            return NotStored()
        wait = min(RECEIPT_WAIT_SECONDS, int(self._config.timeout_seconds / 2))
        reply = await self.ask(
            "PUT",
            self._config.receipts_url + sealed.clip_id,
            {
                "Content-Type": "application/jose",
                "Prefer": f"wait={wait}",
                "Dockd-Nonce": nonce,
            },
            sealed.manifest.encode(),
        )
        match reply.status:
            case 200 if reply.is_statement:
                answer = reply.headers.get("Dockd-Answer", "")
                return Received(reply.body.decode("ascii", "replace"), answer)
            case 202 if _is_promise(reply):
                return Verifying(1.0 if reply.retry_after is None else reply.retry_after)
            case 404 if reply.problem.code == "clip-not-stored":
                return NotStored()
            case _:
                raise to_error(reply)

    async def anchor(self, kid: str, nonce: str) -> str:
        """See :meth:`dockd.station.targets.Target.anchor`."""
        url = f"{self._config.receipts_url}anchors/{kid}"
        reply = await self.ask("GET", url, {"Dockd-Nonce": nonce})
        if reply.status == 200 and reply.is_statement:
            return reply.body.decode("ascii", "replace")
        raise to_error(reply)

    async def upload(
        self,
        sealed: Sealed,
        url: str | None,
        remember: Callable[[str], Awaitable[None]],
        progress: Callable[[int], None],
    ) -> None:
        """See :meth:`dockd.station.targets.Target.upload`."""
        try:
            abilities = await self._ask_abilities()
            if abilities.max_size is not None and sealed.size > abilities.max_size:
                raise RejectedError(
                    f"it has {sealed.size} bytes, and the server accepts {abilities.max_size}",
                    hint="raise the server's limit; see docs/operate.md",
                )
            file = await to_the_end(SpoolFile.open, sealed)
            try:
                attempt = _Attempt(self, abilities, sealed, file, remember, progress)
                await attempt.run(url)
            finally:
                file.close()
        except TargetError:
            self._abilities = None  # a repaired server may have other features
            raise

    def take_smaller(self, size: int) -> bool:
        """Reduce the chunk size, as a chunk was refused; false at the minimum."""
        if size <= SMALLEST_PIECE:
            return False
        if size <= self.chunk_size:
            half = 1 << (size.bit_length() - 1)
            # Quickly down to the default limit of proxies, then in halves.
            self.chunk_size = max(half // 8, _USUAL_LIMIT) if half > _USUAL_LIMIT else size // 2
            self.chunk_size = max(self.chunk_size, SMALLEST_PIECE)
            events.target_pieces_smaller(target=self._config.url, refused=size, now=self.chunk_size)
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ask(
        self,
        method: str,
        url: httpx.URL | str,
        headers: Mapping[str, str],
        content: bytes | AsyncIterable[bytes] = b"",
    ) -> Reply:
        """Send one request; raises TransientError if there is no response."""
        request = self._client.build_request(method, url, headers=headers, content=content)
        reply = await ask(self._client, request, self._clock)
        if reply.shows_reachability:
            took_something = (method, reply.status) in {("PATCH", 204), ("PUT", 200)}
            self.health.answered(took_something=took_something)
        return reply

    async def _ask_abilities(self) -> Abilities:
        if self._abilities is None:
            self._abilities = Abilities.of(await self.ask("OPTIONS", self.endpoint, {}))
        return self._abilities


@dataclass
class _Attempt:
    """One attempt to upload a clip.

    Its steps return the upload's offset; at the clip's size, the upload is complete.
    """

    target: TusTarget
    abilities: Abilities
    sealed: Sealed
    file: SpoolFile
    remember: Callable[[str], Awaitable[None]]
    progress: Callable[[int], None]
    url: httpx.URL | None = None
    patience: int = PATIENCE

    async def run(self, remembered: str | None) -> None:
        if remembered is not None:
            self.url = _same_origin(self.target.endpoint, remembered)
        offset = await self._find()
        while offset < self.sealed.size:
            offset = await self._send(offset)

    async def _find(self) -> int:
        """Query the upload's offset; create the upload if there is none to resume."""
        if self.url is None:
            return await self._create()
        reply = await self._ask("HEAD", self.url)
        if reply.status in _UNKNOWN:
            return await self._create()
        if reply.status not in {200, 204}:
            raise to_error(reply)
        length = reply.headers.get("Upload-Length")
        if length is not None and length != str(self.sealed.size):
            return await self._create()
        offset = _offset(reply)
        if offset > self.sealed.size:
            raise _nonsense(reply, f"it has {offset} of {self.sealed.size} bytes")
        self.progress(offset)
        return offset

    async def _create(self) -> int:
        manifest = base64.b64encode(self.sealed.manifest.encode()).decode()
        reply = await self._ask(
            "POST",
            self.target.endpoint,
            {"Upload-Length": str(self.sealed.size), "Upload-Metadata": f"manifest {manifest}"},
        )
        if reply.status == 409 and reply.problem.code == "clip-stored":
            self.progress(self.sealed.size)
            return self.sealed.size
        if reply.status != 201:
            raise to_error(reply)
        _check_version(reply)
        location = reply.headers.get("Location", "")
        self.url = _same_origin(self.target.endpoint, location) if location else None
        if self.url is None:
            raise TransientError(
                f"the server created the upload at {location[:200]!r}, which is not below "
                f"{self.target.endpoint}",
                hint="a server behind a reverse proxy must trust its X-Forwarded headers; "
                "dockd sends its credentials to no other host",
            )
        await self.remember(str(self.url))
        self.progress(0)
        return 0

    async def _send(self, start: int) -> int:
        assert self.url is not None
        end = min(start + self.target.chunk_size, self.sealed.size)
        chunk = Chunk(self.file, start, end, self.target.limiter, self.progress)
        headers = {
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(end - start),
            "Upload-Offset": str(start),
        }
        if self.abilities.checksum:
            digest = base64.b64encode(await self._digest(start, end)).decode()
            headers["Upload-Checksum"] = f"sha256 {digest}"
        try:
            reply = await self._ask("PATCH", self.url, headers, chunk)
        except TransientError as error:
            if not chunk.sent:
                raise
            return await self._look_again(error)  # perhaps only the response was lost
        if (
            reply.status == 413
            and not reply.is_from_server
            and self.target.take_smaller(end - start)
        ):
            self.progress(start)
            return start
        if reply.status in _CHECKSUM_MISMATCH:
            await to_the_end(self.file.check)
        if reply.status in {409} | _GONE | _CHECKSUM_MISMATCH:
            return await self._look_again(to_error(reply))
        if reply.status != 204:
            raise to_error(reply)
        offset = _offset(reply)
        if not start < offset <= end:
            raise _nonsense(reply, f"it is at {offset} after bytes {start} to {end}")
        self.progress(offset)
        return offset

    async def _look_again(self, error: TargetError) -> int:
        if self.patience == 0:
            raise error
        self.patience -= 1
        return await self._find()

    async def _digest(self, start: int, end: int) -> bytes:
        if (start, end) == (0, self.sealed.size):
            return bytes.fromhex(self.sealed.sha256)
        return await to_the_end(self.file.digest, start, end)

    async def _ask(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str] | None = None,
        content: bytes | AsyncIterable[bytes] = b"",
    ) -> Reply:
        headers = {"Tus-Resumable": TUS_VERSION, **(headers or {})}
        return await self.target.ask(method, url, headers, content)


def _is_promise(reply: Reply) -> bool:
    """Return whether a 202 is the server's own: a filter's has neither a code nor Retry-After."""
    return not reply.is_page and (bool(reply.problem.code) or reply.retry_after is not None)


def _same_origin(endpoint: httpx.URL, location: str) -> httpx.URL | None:
    """Return an upload's absolute address, or None if it isn't on the endpoint's server."""
    try:
        url = endpoint.join(location)
    except httpx.InvalidURL:
        return None
    return url if origin(url) == origin(endpoint) and not url.userinfo else None


def _offset(reply: Reply) -> int:
    _check_version(reply)
    value = reply.headers.get("Upload-Offset", "")
    if not _is_number(value):
        raise _nonsense(reply, f"its Upload-Offset is {value[:50]!r}")
    return int(value)


def _check_version(reply: Reply) -> None:
    version = reply.headers.get("Tus-Resumable")
    if version is None:
        raise to_error(reply)
    if version != TUS_VERSION:
        raise _nonsense(reply, f"its Tus-Resumable is {version[:50]!r}, not {TUS_VERSION!r}")


def _nonsense(reply: Reply, what: str) -> TransientError:
    return TransientError(
        f"invalid response to {reply.method}: {what}",
        hint="check that target.url is a tus 1.0.0 endpoint, and that a proxy before it "
        "passes all headers on",
        retry_after=reply.retry_after,
    )


def _listed(reply: Reply, header: str) -> set[str]:
    return {item.strip() for item in reply.headers.get(header, "").split(",")}


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= 19

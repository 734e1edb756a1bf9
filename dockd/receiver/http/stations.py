"""Who may do what: enrolled stations, their tokens and their manifests."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from dockd.base.errors import ConfigError, ManifestRefusedError
from dockd.evidence.keys import SigningKey, VerifyKey
from dockd.evidence.statements import Manifest, read_unverified_manifest, verify_manifest
from dockd.receiver.config import StationEntry
from dockd.receiver.http import problems
from dockd.receiver.http.problems import RequestError


@dataclass(frozen=True)
class Station:
    """An enrolled station."""

    id: str
    keys: tuple[VerifyKey, ...]
    token_digests: tuple[bytes, ...] = ()
    """SHA-256 of each token; with none, the station needs no token."""

    @classmethod
    def load(cls, entry: StationEntry) -> Self:
        """Read a station's keys.

        Raises:
            KeyFileError: a key is missing or isn't one.
        """
        keys = tuple(VerifyKey.load(path, "station") for path in entry.public_keys)
        return cls(entry.id, keys, tuple(map(bytes.fromhex, entry.tokens_sha256)))


@dataclass(frozen=True)
class Caller:
    """Who sends a request: the station of its token, or anybody."""

    station: Station | None

    @property
    def name(self) -> str:
        """The station's name; empty where it may be anybody."""
        return "" if self.station is None else self.station.id


class Stations:
    """The stations that are enrolled here."""

    def __init__(self, stations: Sequence[Station]) -> None:
        self._stations = {station.id: station for station in stations}
        self._by_kid = {key.kid: station for station in stations for key in station.keys}
        self._keys = {key.kid: key for station in stations for key in station.keys}
        if len(self._keys) != sum(len(station.keys) for station in stations):
            raise ConfigError("one public key stands twice", hint="each belongs to one station")

    def check_own(self, key: SigningKey) -> None:
        """Make sure that no station has the receiver's own key, with which it could sign receipts.

        Raises:
            ConfigError: one has.
        """
        if key.kid in self._keys:
            raise ConfigError(
                f"station {self._by_kid[key.kid].id} has the receiver's own key",
                hint="fetch the station's .pub; see docs/configure.md, Keys",
            )

    def caller(self, authorization: str | None) -> Caller:
        """Say whose bearer token (RFC 6750) a request carries.

        Raises:
            RequestError: the token is unknown, or there is none and every station has one.
        """
        if authorization is None:
            if all(station.token_digests for station in self._stations.values()):
                raise _unauthorized("the request carries no token")
            return Caller(None)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized("the request is not authorized by a bearer token")
        digest = hashlib.sha256(token.strip().encode("latin-1")).digest()
        found = [
            station
            for station in self._stations.values()
            for known in station.token_digests
            if hmac.compare_digest(known, digest)
        ]
        if not found:
            raise _unauthorized("the token is not known here")
        return Caller(found[0])

    @property
    def several(self) -> bool:
        """Whether there is more than one, so that one must not take all that they share."""
        return len(self._stations) > 1

    def of_key(self, kid: str) -> Station | None:
        """Return the station that a key belongs to, if it is one's here."""
        return self._by_kid.get(kid)

    def may_act(self, caller: Caller, station_id: str) -> bool:
        """Say whether a caller may act for a station; one that was struck off has no tokens."""
        if caller.station is not None:
            return caller.station.id == station_id
        station = self._stations.get(station_id)
        return station is not None and not station.token_digests

    def admit(self, caller: Caller, station_id: str) -> None:
        """Check that a caller may act for a station.

        Raises:
            RequestError: it is another station, or has to show a token first.
        """
        if caller.station is not None:
            if caller.station.id != station_id:
                raise RequestError(
                    problems.OTHER_STATION,
                    f"the token is that of {caller.station.id}, not of {station_id}",
                    hint="give the station its own token",
                )
        elif self._stations[station_id].token_digests:
            raise _unauthorized(f"{station_id} has to show its token")

    def verify(self, token: str) -> Manifest:
        """Check that an enrolled station signed a manifest, in its own name.

        Raises:
            ManifestRefusedError: it can't be relied on.
        """
        manifest = verify_manifest(token, self._keys)
        if manifest.station.id != self._by_kid[manifest.station.kid].id:
            raise ManifestRefusedError("it names a station whose key it isn't", reason="station")
        return manifest

    def manifest(self, token: str, caller: Caller) -> Manifest:
        """Check a manifest that a caller brings.

        Raises:
            RequestError: it can't be relied on, or the caller is another station.
        """
        try:
            manifest = self.verify(token)
        except ManifestRefusedError as error:
            problem, hint = _REFUSALS.get(error.reason, (problems.MANIFEST_REFUSED, ""))
            raise RequestError(problem, f"{error.detail}{_claim(token)}", hint=hint) from error
        self.admit(caller, manifest.station.id)
        return manifest


_ENROL = "add the station and its public key to the receiver's configuration"
_REFUSALS = {
    "unknown-key": (problems.NOT_ENROLLED, _ENROL),
    "station": (problems.NOT_ENROLLED, _ENROL),
    "too-large": (problems.TOO_LARGE, ""),
}


def _claim(token: str) -> str:
    """Return who a manifest that is refused says that it is from, as words to put behind others."""
    try:
        signer = read_unverified_manifest(token).station
    except ManifestRefusedError:
        return ""
    return f"; it says that it is from {signer.id}, key {signer.kid}"


def _unauthorized(detail: str) -> RequestError:
    return RequestError(
        problems.TOKEN_REFUSED,
        detail,
        hint="put the token whose digest the receiver has into the station's token_file",
        headers={"WWW-Authenticate": "Bearer"},
    )

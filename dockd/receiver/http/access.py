"""Who may do what: bearer tokens, and the manifests that come with them."""

import hashlib
import hmac
from dataclasses import dataclass

from dockd.base.errors import ManifestRefusedError
from dockd.evidence.statements import Manifest, read_unverified_manifest
from dockd.receiver.core.stations import EnrolledStation, Stations
from dockd.receiver.http import problems
from dockd.receiver.http.problems import RequestError


@dataclass(frozen=True)
class Caller:
    """Who sends a request: the station of its token, or an anonymous client."""

    station: EnrolledStation | None

    @property
    def name(self) -> str:
        """The station's name; empty for an anonymous client."""
        return "" if self.station is None else self.station.id


class Access:
    """Checks requests against the enrolled stations."""

    def __init__(self, stations: Stations) -> None:
        self._stations = stations

    def of_key(self, kid: str) -> EnrolledStation:
        """Return the station that a key belongs to.

        Raises:
            RequestError: no enrolled station has it.
        """
        station = self._stations.of_key(kid)
        if station is None:
            raise RequestError(problems.NOT_ENROLLED, f"no enrolled station has the key {kid}")
        return station

    def caller(self, authorization: str | None) -> Caller:
        """Return whose bearer token (RFC 6750) a request carries.

        Raises:
            RequestError: the token is unknown, or there is none and every station has one.
        """
        if authorization is None:
            if all(station.token_digests for station in self._stations):
                raise _unauthorized("the request has no token")
            return Caller(None)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized("the Authorization header is not a bearer token")
        digest = hashlib.sha256(token.strip().encode("latin-1")).digest()
        found = [
            station
            for station in self._stations
            for known in station.token_digests
            if hmac.compare_digest(known, digest)
        ]
        if not found:
            raise _unauthorized("unknown token")
        return Caller(found[0])

    def may_act(self, caller: Caller, station_id: str) -> bool:
        """Say whether a caller may act for a station that is still enrolled."""
        if caller.station is not None:
            return caller.station.id == station_id
        station = self._stations.get(station_id)
        return station is not None and not station.token_digests

    def admit(self, caller: Caller, station_id: str) -> None:
        """Check that a caller may act for a station.

        Raises:
            RequestError: it is another station, or needs a token.
        """
        if caller.station is not None:
            if caller.station.id != station_id:
                raise RequestError(
                    problems.OTHER_STATION,
                    f"the token belongs to {caller.station.id}, not to {station_id}",
                    hint="give the station its own token",
                )
        elif not self.may_act(caller, station_id):
            raise _unauthorized(f"{station_id} must send its token")

    def manifest(self, token: str, caller: Caller) -> Manifest:
        """Check a manifest that a caller sends.

        Raises:
            RequestError: the manifest is invalid, or the caller is another station.
        """
        try:
            manifest = self._stations.verify(token)
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
    """Return whom a refused manifest claims to be from, to be appended to a detail."""
    try:
        signer = read_unverified_manifest(token).station
    except ManifestRefusedError:
        return ""
    return f"; it claims to be from {signer.id}, key {signer.kid}"


def _unauthorized(detail: str) -> RequestError:
    return RequestError(
        problems.TOKEN_REFUSED,
        detail,
        hint="the station's token_file must hold a token whose digest the receiver has",
        headers={"WWW-Authenticate": "Bearer"},
    )

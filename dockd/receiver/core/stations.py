"""The enrolled stations, and which manifests are theirs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from dockd.base.errors import ConfigError, ManifestRefusedError
from dockd.evidence.keys import SigningKey, VerifyKey
from dockd.evidence.statements import Manifest, verify_manifest
from dockd.receiver.config import StationEntry


@dataclass(frozen=True)
class EnrolledStation:
    """An enrolled station."""

    id: str
    keys: tuple[VerifyKey, ...]
    token_digests: tuple[bytes, ...] = ()
    """SHA-256 of each token; with none, the station needs no token."""

    @classmethod
    def load(cls, entry: StationEntry) -> Self:
        """Read a station's keys.

        Raises:
            KeyFileError: a key is missing or invalid.
        """
        keys = tuple(VerifyKey.load(path, "station") for path in entry.public_keys)
        return cls(entry.id, keys, tuple(map(bytes.fromhex, entry.tokens_sha256)))


class Stations:
    """The stations that are enrolled here."""

    def __init__(self, stations: Sequence[EnrolledStation]) -> None:
        self._stations = {station.id: station for station in stations}
        self._by_kid = {key.kid: station for station in stations for key in station.keys}
        self._keys = {key.kid: key for station in stations for key in station.keys}
        if len(self._keys) != sum(len(station.keys) for station in stations):
            raise ConfigError("duplicate public key", hint="give each station a key of its own")

    def __iter__(self) -> Iterator[EnrolledStation]:
        """Yield all of them."""
        return iter(self._stations.values())

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

    @property
    def several(self) -> bool:
        """Whether there is more than one, so that one must not take everything they share."""
        return len(self._stations) > 1

    def get(self, station_id: str) -> EnrolledStation | None:
        """Return a station by its name."""
        return self._stations.get(station_id)

    def of_key(self, kid: str) -> EnrolledStation | None:
        """Return the station that a key belongs to, if it is enrolled."""
        return self._by_kid.get(kid)

    def verify(self, token: str) -> Manifest:
        """Check that an enrolled station signed a manifest, in its own name.

        Raises:
            ManifestRefusedError: the manifest is invalid.
        """
        manifest = verify_manifest(token, self._keys)
        if manifest.station.id != self._by_kid[manifest.station.kid].id:
            raise ManifestRefusedError("it names a station whose key it isn't", reason="station")
        return manifest

"""The docked cameras: runs each docking, contains its errors, and passes reports on to it."""

from collections.abc import Awaitable, Callable

from dockd.base.clock import Clock
from dockd.base.errors import CameraRefusedError, SourceError, explained
from dockd.base.incidents import Scope
from dockd.station import events
from dockd.station.cameras import Media
from dockd.station.ledger.ledger import Ledger
from dockd.station.model import Camera
from dockd.station.pipeline.activity import Activity
from dockd.station.pipeline.cleaning import Cleaning
from dockd.station.pipeline.docking import Docking
from dockd.station.pipeline.intake import Intake


class Dockings:
    """Runs a docking for each camera that arrives, and contains its errors."""

    def __init__(
        self,
        ledger: Ledger,
        intake: Intake,
        cleaning: Cleaning,
        clock: Clock,
        activity: Activity,
        *,
        synchronised: Callable[[], Awaitable[bool | None]],
    ) -> None:
        """Start without dockings.

        Args:
            ledger: has the cameras' clips.
            intake: ingests them.
            cleaning: wipes them.
            clock: paces the work.
            activity: shows the work, and takes incidents.
            synchronised: returns whether the station's clock is synchronised.
        """
        self.current: dict[str, Docking] = {}
        """The dockings under way, by camera."""
        self._ledger = ledger
        self._intake = intake
        self._cleaning = cleaning
        self._clock = clock
        self._activity = activity
        self._synchronised = synchronised

    async def dock(self, media: Media) -> None:
        """Work on a camera until it is gone or this is cancelled; raises no errors."""
        camera = media.camera.id
        if camera in self.current:
            self._refuse(media)
            return
        self._refusal(camera, media.place).recovered(
            events.camera_refused, events.camera_recovered(camera=camera)
        )
        incidents = self._activity.camera(media.camera)
        self.current[camera] = docking = Docking(
            media,
            self._ledger,
            self._intake,
            self._cleaning,
            self._clock,
            activity=self._activity,
            synchronised=self._synchronised,
        )
        try:
            await docking.run()
        except OSError as error:
            failure = SourceError(f"{camera}: {error}", hint="check the camera; dockd retries")
            incidents.failed(events.camera_failed(camera=camera), failure)
        except Exception as error:  # noqa: BLE001  # the boundary of one camera
            incidents.failed(events.camera_failed(camera=camera), explained(error))
        finally:
            del self.current[camera]

    def clip_concluded(self, camera: Camera) -> None:
        """Check whether a camera can be wiped, as a clip's delivery has ended."""
        if docking := self.current.get(camera.id):
            docking.look_for_wipe()

    def holds_changed(self) -> None:
        """Check whether cameras can be wiped, as holds have changed."""
        for docking in self.current.values():
            docking.look_for_wipe()

    def gone(self, camera: Camera, place: str) -> None:
        """Close the incidents of a camera that is gone from a place."""
        self._refusal(camera.id, place).close()
        if camera.id not in self.current:
            self._activity.camera(camera).close()

    def _refuse(self, media: Media) -> None:
        camera, place = media.camera, media.place
        error = CameraRefusedError(
            f"{camera.id} is already docked at {self.current[camera.id].media.place}",
            hint="give one of the two another serial or profile",
        )
        refused = events.camera_refused(place=place, profile=camera.profile, serial=camera.serial)
        self._refusal(camera.id, place).failed(refused, error)

    def _refusal(self, camera: str, place: str) -> Scope:
        return self._activity.incidents.scope("refused", camera, place)

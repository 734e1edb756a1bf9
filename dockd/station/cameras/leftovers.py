"""Unmatched files on a camera: no rule of its profile selects or ignores them.

A rule can be wrong, and new firmware can rename folders. So an unmatched file may be a
recording, and the camera must not be reported as safe to take.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dockd.station.model import display_path

_RECORDINGS = frozenset(
    b"3g2 3gp 264 265 360 aac amr asf av1 avc avi braw dav divx dng dv f4v flac flv h264 h265 hevc"
    b" heic insv ivf jpeg jpg lrv m2t m2ts m2v m4a m4v mjpeg mjpg mkv mov mp2 mp3 mp4 mpe mpeg mpg"
    b" mts mxf nut oga ogg ogv opus pcm png qt r3d raw rm rmvb tif tiff tod trp ts vob wav webm wma"
    b" wmv y4m".split()
)
"""File name extensions of video, audio and pictures."""
_LARGE = 1 << 20
"""Minimum bytes of a file that may be a recording, whatever its name is."""
_BULK = 16 << 20
"""The same for all unmatched files together."""
_NAMED = 3


@dataclass(frozen=True)
class Leftovers:
    """The unmatched files of one scan."""

    files: int = 0
    size: int = 0
    suspect: int = 0
    """How many of them may be recordings, by name or size."""
    named: tuple[str, ...] = ()
    """Some of them, the suspect ones first."""


def weigh(files: Mapping[bytes, int]) -> Leftovers:
    """Summarise unmatched files, given their sizes."""
    size = sum(files.values())
    suspect = [path for path in files if _is_suspect(path, files[path], size)]
    first = sorted(suspect or files)[:_NAMED]
    return Leftovers(len(files), size, len(suspect), tuple(map(display_path, first)))


def _is_suspect(path: bytes, size: int, together: int) -> bool:
    _, dot, suffix = path.rpartition(b"/")[2].rpartition(b".")
    is_recording = bool(dot) and suffix.lower() in _RECORDINGS
    return is_recording or size >= _LARGE or together >= _BULK

"""The pages' files and texts, kept in memory: they are available when the disk is not."""

import json
from collections.abc import Iterable
from importlib.resources.abc import Traversable

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

_MEDIA_TYPES = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
_HEADERS = {
    # Revalidated each time, so that page and daemon have the same version.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_FALLBACK = "en"


class Assets:
    """The files of a folder; ``texts.<language>.json`` are its catalogues, English the fallback.

    Args:
        folder: their folder; it is read only once.
    """

    def __init__(self, folder: Traversable) -> None:
        self._files: dict[str, bytes] = {}
        self._catalogues: dict[str, dict[str, str]] = {}
        for entry in folder.iterdir():
            name, _, ending = entry.name.rpartition(".")
            if ending in _MEDIA_TYPES:
                self._files[entry.name] = entry.read_bytes()
            elif ending == "json":
                self._catalogues[name.removeprefix("texts.").lower()] = json.loads(
                    entry.read_bytes()
                )

    def file(self, name: str) -> Response:
        """Return a file.

        Raises:
            HTTPException: there is none of that name.
        """
        if name not in self._files:
            raise HTTPException(404)
        media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
        return Response(self._files[name], media_type=media_type, headers=_HEADERS)

    def texts(self, languages: Iterable[str]) -> Response:
        """Return the catalogue of the first available language, with English for missing texts.

        Args:
            languages: BCP 47 tags, the preferred first; ``de-CH`` falls back to ``de``.
        """
        language = next(filter(self._catalogues.get, _lookups(languages)), _FALLBACK)
        texts = self._catalogues[_FALLBACK] | self._catalogues[language]
        return JSONResponse({"language": language} | texts, headers=_HEADERS)


def _lookups(languages: Iterable[str]) -> Iterable[str]:
    """Yield each tag, then progressively truncated (RFC 4647, section 3.4)."""
    for language in languages:
        tag = language.strip().lower()
        while tag:
            yield tag
            tag = tag.rpartition("-")[0]

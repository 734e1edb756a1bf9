"""The pages of the documentation, as text and as what stands in their fenced blocks."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(text: str, language: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the content of a text's fenced blocks in a language."""
    for block in FENCE.finditer(text):
        if block["language"] == language:
            yield text.count("\n", 0, block.start()) + 2, block["text"]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Return where a page links to within the documentation."""
    return [link for link in _LINK.findall(prose(page)) if not link.startswith("https://")]

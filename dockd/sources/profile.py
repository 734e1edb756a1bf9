"""Profiles: which files of a camera are clips, and what their names and folders say."""

import os
import re
from dataclasses import dataclass
from datetime import datetime

from dockd import globs
from dockd.config import ProfileConfig, RuleConfig
from dockd.model import Match, display_path


@dataclass(frozen=True)
class _Rule:
    pattern: re.Pattern[str]
    config: RuleConfig

    def match(self, found: re.Match[str]) -> Match | None:
        if self.config.kind == "ignore":
            return None
        named = {name: value for name, value in found.groupdict().items() if value}
        return Match(
            kind=self.config.kind,
            event=self.config.event,
            recorded_at=self._recorded_at(named.get("time")),
            metadata={name: display_path(os.fsencode(value)) for name, value in named.items()},
        )

    def _recorded_at(self, text: str | None) -> float | None:
        if text is None or self.config.time_format is None:
            return None
        try:
            return datetime.strptime(text, self.config.time_format).astimezone().timestamp()
        except (ValueError, OverflowError):
            return None


class Profile:
    """The compiled rules of one kind of camera."""

    def __init__(self, config: ProfileConfig) -> None:
        self.name = config.name
        flags = re.DOTALL if config.case_sensitive else re.DOTALL | re.IGNORECASE
        self._rules = [
            _Rule(re.compile(globs.translate(rule.pattern), flags), rule) for rule in config.rules
        ]

    def match(self, path: bytes) -> Match | None:
        """Return what the first rule that fits says of a path; None where it is no clip.

        A path on a further volume of a camera, such as ``/p2/DCIM/1.mp4``, is matched
        without its slash.
        """
        text = os.fsdecode(path.removeprefix(b"/"))
        for rule in self._rules:
            if found := rule.pattern.fullmatch(text):
                return rule.match(found)
        return None

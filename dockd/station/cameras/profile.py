"""Profiles: which files of a camera are clips, and the metadata in their paths."""

import os
from dataclasses import dataclass

from dockd.station.cameras import globs
from dockd.station.cameras.timeformats import TimeFormat
from dockd.station.config import ProfileConfig, RuleConfig
from dockd.station.model import Match, display_path


@dataclass(frozen=True)
class Fit:
    """The rule that matches a file."""

    number: int
    """Its number in the profile, from 1."""
    config: RuleConfig
    match: Match | None
    """The file's kind and metadata; None if it is ignored."""


@dataclass(frozen=True)
class _Rule:
    glob: globs.Glob
    config: RuleConfig
    time_format: TimeFormat | None

    def match(self, found: dict[str, str]) -> Match | None:
        if self.config.kind == "ignore":
            return None
        named = {name: value for name, value in found.items() if value}
        time = named.get("time")
        return Match(
            kind=self.config.kind,
            event=self.config.event,
            recorded_at=self.time_format.read(time) if self.time_format and time else None,
            metadata={name: display_path(os.fsencode(value)) for name, value in named.items()},
        )


class Profile:
    """The compiled rules of one kind of camera."""

    def __init__(self, config: ProfileConfig) -> None:
        self.name = config.name
        self._rules = [
            _Rule(
                globs.parse(rule.pattern, ignore_case=not config.case_sensitive),
                rule,
                TimeFormat(rule.time_format) if rule.time_format else None,
            )
            for rule in config.rules
        ]

    def match(self, path: bytes) -> Match | None:
        """Return the match of the first matching rule for a path; None if it is no clip."""
        fit = self.find(path)
        return fit.match if fit else None

    def find(self, path: bytes) -> Fit | None:
        """Return the first rule that matches a path; None without one.

        A path on another volume of a camera, such as ``/p2/DCIM/1.mp4``, is matched
        without its slash.
        """
        text = os.fsdecode(path.removeprefix(b"/"))
        for number, rule in enumerate(self._rules, start=1):
            if (found := rule.glob.match(text)) is not None:
                return Fit(number, rule.config, rule.match(found))
        return None

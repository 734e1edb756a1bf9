"""The results of dockd verify and dockd log verify, as lines or as JSON."""

import json
from collections.abc import Iterable
from dataclasses import asdict

from dockd.evidence.verify import Verification


def say_verifications(results: Iterable[Verification], *, as_json: bool) -> bool:
    """Print the result of each check, and return whether all of them hold."""
    findings = list(results)
    holds = all(finding.holds for finding in findings)
    if as_json:
        print(json.dumps({"holds": holds, "findings": [asdict(one) for one in findings]}))
        return holds
    for finding in findings:
        word = "FAILED" if not finding.holds else "ok" if finding.checked else "-"
        print(f"{word:6} {finding.what}: {finding.detail}")
    return holds

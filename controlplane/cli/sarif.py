"""Findings as SARIF 2.1.0, for code hosts and editors that show them beside the line."""

from collections.abc import Iterable
from importlib import metadata

from policies.errors import Finding
from policies.lint import CODES

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def document(findings: Iterable[Finding]) -> dict[str, object]:
    """One run. Every code is a rule, found or not, so that indices are stable."""
    rules = list(CODES)
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "writ policy lint",
                        "version": metadata.version("writ-mesh"),
                        "rules": [
                            {"id": code, "shortDescription": {"text": text}} for code, text in CODES.items()
                        ],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, rules) for finding in findings],
            }
        ],
    }


def _result(finding: Finding, rules: list[str]) -> dict[str, object]:
    hint = f". {finding.hint}" if finding.hint else ""
    policy = f"policy `{finding.policy}`: " if finding.policy else ""
    place = {
        "artifactLocation": {"uri": finding.file},
        "region": {"startLine": finding.line},
    }
    return {
        "ruleId": finding.code,
        "ruleIndex": rules.index(finding.code),
        "level": finding.severity,
        "message": {"text": f"{policy}{finding.message}{hint}"},
        "locations": [{"physicalLocation": place}],
    }

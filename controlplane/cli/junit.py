"""Reports of policy cases as JUnit XML, for CI systems that show them."""

from collections.abc import Mapping
from xml.etree import ElementTree as ET

from controlplane.cli.output import CONTROL
from policies.cases import Outcome, Report


def document(reports: Mapping[str, Report]) -> bytes:
    """One suite per file of cases."""
    root = ET.Element("testsuites", name="writ policy test")
    for name, report in reports.items():
        counts = {"tests": str(len(report.outcomes)), "failures": str(len(report.failed)), "errors": "0"}
        suite = ET.SubElement(root, "testsuite", {"name": name, **counts})
        for outcome in report.outcomes:
            _case(suite, name, outcome)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _case(suite: ET.Element, file: str, outcome: Outcome) -> None:
    case = ET.SubElement(suite, "testcase", classname=file, name=_clean(outcome.case.name))
    if outcome.wrong:
        ET.SubElement(case, "failure", message=_clean(outcome.wrong)).text = _clean(outcome.wrong)


def _clean(text: str) -> str:
    """XML has no place for control characters."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)

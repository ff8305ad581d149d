"""No known way around a policy is without an attempt, and no attempt without a place in the table."""

import re
from pathlib import Path

from attacks.table import TABLE
from bypass.cases import CASES
from bypass.classes import PROTOCOLS, PROXIES

COUNTED = re.compile(r'outcomes\["([^"]+)"')


def test_every_class_is_tried_and_every_attempt_is_of_a_class() -> None:
    counted = {
        ref for file in Path(__file__).parent.glob("test_*.py") for ref in COUNTED.findall(file.read_text())
    }
    tried = {case.ref for case in CASES} | counted
    named = {ref for refs in (*PROXIES.values(), *PROTOCOLS.values()) for ref in refs}
    controls = {control.name for control in TABLE}
    assert tried <= named
    assert named <= tried | controls

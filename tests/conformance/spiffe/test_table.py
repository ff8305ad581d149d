"""The published table is what the tests show: no rule without tests is called met, and none with tests unmet."""

import spiffe_table as table
from spiffe_rules import RULES


def test_every_rule_is_met_with_a_test_or_unmet_with_a_reason() -> None:
    by_rule = table.tests()
    assert {name for name, tests in by_rule.items() if tests} == {
        name for name, rule in RULES.items() if not rule.unmet
    }


def test_no_conformance_test_is_skipped() -> None:
    for file in table.HERE.glob("test_[!t]*.py"):
        assert not {"skip", "skipif", "xfail"} & set(file.read_text().replace("(", ".").split("."))


def test_the_page_is_what_the_rules_and_tests_say() -> None:
    assert table.PAGE.read_text() == table.render(), "run: python tests/conformance/spiffe/spiffe_table.py"

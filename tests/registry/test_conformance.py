"""The kit with which a package proves that it keeps the contract."""

from __future__ import annotations

import pytest

from drivetrain.registry import HOOKS
from drivetrain.registry.testing import assert_conformance, conformance_findings

GOOD = '''
from drivetrain.registry import HOOKS

@HOOKS.register_module()
class ToyHook:
    """Adds.

    Example:
        >>> ToyHook(1).sum
        2
    """

    def __init__(self, a, b=1):
        self.sum = a + b
'''


@pytest.fixture(autouse=True)
def _hooks_as_before(monkeypatch):
    """What a toy registers is taken out again."""
    before = dict(HOOKS.module_dict)
    yield
    for name in set(HOOKS.module_dict) - set(before):
        HOOKS.module_dict.pop(name)


def rules(distribution="toy-parts", **options):
    return [finding.rule for finding in conformance_findings(distribution, **options)]


def test_a_good_package_passes(announce):
    announce({"drivetrain.hook": "toy_good"}, {"toy_good": GOOD})
    assert_conformance(
        "Toy_Parts", examples={"hook": [{"type": "ToyHook", "a": 1}, {"type": "ToyHook", "a": 2}]}
    )


@pytest.mark.parametrize(
    ("source", "rule", "text"),
    [
        ("import toy_missing", "import", "No module named 'toy_missing'"),
        ("x = 1", "register", "registers nothing"),
        (GOOD.replace("a, b=1", "a, type=1").replace("a + b", "a"), "signature", "'type'"),
        (GOOD.replace("a, b=1", "a, /, b=1"), "signature", "'a' cannot be given by its name"),
        (GOOD.replace("        2\n", "        3\n"), "doctest", "Expected:"),
        (GOOD + "\nDRIVETRAIN_CONTRACT = (7, 8)\n", "import", "supports contract 7 to 8"),
    ],
    ids=["import", "register", "type", "positional", "doctest", "contract"],
)
def test_each_broken_rule_is_found(announce, source, rule, text):
    announce({"drivetrain.hook": "toy_bad"}, {"toy_bad": source})
    findings = conformance_findings("toy-parts")
    assert findings
    assert findings[0].rule == rule
    assert text in str(findings[0])


def test_a_module_that_relies_on_another_one_being_imported_first_is_found(announce):
    source = "import sys\nassert 'toy_first' in sys.modules\n" + GOOD
    announce({"drivetrain.hook": "toy_second"}, {"toy_first": "", "toy_second": source})
    __import__("toy_first")
    assert rules() == ["import"]


@pytest.mark.parametrize("name", ["hook", "drivetrain.no_such_registry"])
def test_an_announcement_must_name_scope_and_registry(announce, name):
    announce({name: "toy_good"}, {"toy_good": GOOD})
    assert rules() == ["announce"]


def test_a_distribution_that_announces_nothing_is_found():
    assert rules("no-such-distribution") == ["announce"]


def test_an_example_that_does_not_build_is_found(announce):
    announce({"drivetrain.hook": "toy_good"}, {"toy_good": GOOD})
    assert rules(examples={"hook": [{"type": "ToyHook"}], "no_such": [{}]}) == ["example"] * 2
    with pytest.raises(AssertionError, match="toy-parts does not keep the contract:\n- hook: "):
        assert_conformance("toy-parts", examples={"hook": [{"type": "ToyHook"}]})


def test_doctests_can_be_left_out(announce):
    announce(
        {"drivetrain.hook": "toy_bad"}, {"toy_bad": GOOD.replace("        2\n", "        3\n")}
    )
    assert rules(doctests=False) == []

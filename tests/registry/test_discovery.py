"""Entry points and locations: imported at the first missing name, never before."""

from __future__ import annotations

import sys
import threading

import pytest

from drivetrain.registry import (
    HOOKS,
    MODELS,
    ContractError,
    Registry,
    UnknownComponentError,
    init_default_scope,
)

REGISTERS = """
from drivetrain.registry import {root}

@{root}.register_module(name="{name}")
class Component:
    def __init__(self, **kwargs):
        self.kwargs = kwargs
"""

CHILD = """
from drivetrain.registry import Registry, MODELS as ROOT

MODELS = Registry("toy_model", parent=ROOT, scope="toy_child")

@MODELS.register_module()
class ChildNet:
    pass
"""


@pytest.fixture
def root(monkeypatch):
    """A root registry of the real scope, that nothing installed announces components for."""
    registry = Registry("toy_root", scope="drivetrain")
    monkeypatch.setattr("drivetrain.registry.TOY", registry, raising=False)
    return registry


def test_nothing_is_imported_before_the_first_miss(announce, root):
    announce(
        {"drivetrain.toy_root": "toy_one"},
        {"toy_one": REGISTERS.format(root="TOY", name="FromEntryPoint")},
    )
    root.register_module(name="here", module=dict)

    assert root.build({"type": "here"}) == {}
    assert root.get("here") is dict
    assert len(root) == 1
    assert "toy_one" not in sys.modules

    assert root.build({"type": "FromEntryPoint", "a": 1}).kwargs == {"a": 1}
    assert "toy_one" in sys.modules


def test_only_modules_announced_for_that_registry_are_imported(announce, root):
    announce(
        {"drivetrain.toy_root": "toy_one", "drivetrain.toy_other": "toy_two"},
        {"toy_one": REGISTERS.format(root="TOY", name="Net"), "toy_two": "raise SystemError"},
    )
    assert "Net" in root
    assert "toy_two" not in sys.modules


def test_a_module_is_imported_once_however_often_a_name_is_missing(announce, root):
    announce(
        {"drivetrain.toy_root": "toy_one"},
        {"toy_one": "import sys\nsys.toy_imports = getattr(sys, 'toy_imports', 0) + 1\n1 / 0"},
    )
    try:
        for _ in range(3):
            with pytest.raises(UnknownComponentError):
                root.build({"type": "Net"})
        assert sys.toy_imports == 1
    finally:
        del sys.toy_imports


def test_a_provider_that_fails_does_not_hide_the_others(announce, root):
    announce(
        {"drivetrain.toy_root": "toy_bad"}, {"toy_bad": "import toy_missing_library"}, "toy-bad"
    )
    announce(
        {"drivetrain.toy_root": "toy_good"},
        {"toy_good": REGISTERS.format(root="TOY", name="Net")},
        "toy-good",
    )
    assert root.build({"type": "Net"}).kwargs == {}


def test_the_error_that_needed_a_failed_provider_shows_its_traceback(announce, root):
    folder = announce(
        {"drivetrain.toy_root": "toy_bad"},
        {"toy_bad": "def load():\n    import toy_missing_library\n\nload()\n"},
        "toy-bad",
        "2.0",
    )
    with pytest.raises(UnknownComponentError) as caught:
        root.build({"type": "Net"})
    text = str(caught.value)
    assert 'toy-bad 2.0 (entry point "drivetrain.toy_root" of toy-bad 2.0)' in text
    assert f'File "{folder}/toy_bad.py", line 2, in load' in text
    assert "ModuleNotFoundError: No module named 'toy_missing_library'" in text
    assert "importlib" not in text
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_get_returns_none_but_says_that_a_provider_failed(announce, root):
    announce({"drivetrain.toy_root": "toy_bad"}, {"toy_bad": "1 / 0"})
    with pytest.warns(RuntimeWarning, match="looking for 'Net': ZeroDivisionError"):
        assert root.get("Net") is None


def test_require_raises_where_get_returns_none(root):
    assert root.get("Net") is None
    with pytest.raises(UnknownComponentError, match="no 'Net' in registry 'toy_root'"):
        root.require("Net")
    root.register_module(name="Net", module=dict)
    assert root.require("Net") is dict


def test_the_error_names_what_was_searched_with_distribution_and_version(announce, root):
    announce(
        {"drivetrain.toy_root": "toy_one"},
        {"toy_one": REGISTERS.format(root="TOY", name="DefaultSampler")},
        "toy-parts",
        "0.3.1",
    )
    with pytest.raises(UnknownComponentError) as caught:
        root.build({"type": "DefaultSamplr"})
    assert str(caught.value) == (
        "no 'DefaultSamplr' in registry 'toy_root'.\n"
        "  Did you mean:  'DefaultSampler'\n"
        "  Searched:      drivetrain (1 name, from toy-parts 0.3.1)\n"
        "  Your own?      Register it, and list its module in `custom_imports`."
    )


def test_a_project_joins_with_its_own_scope(announce):
    announce({"toy_child.model": "toy_child"}, {"toy_child": CHILD})
    try:
        model = MODELS.build({"type": "toy_child.ChildNet"})
        assert type(model).__module__ == "toy_child"
    finally:
        MODELS.children.pop("toy_child", None)


def test_a_default_scope_is_looked_for_in_the_announcements(announce):
    announce({"toy_child.model": "toy_child"}, {"toy_child": CHILD})
    init_default_scope("toy_child")
    try:
        assert type(MODELS.build({"type": "ChildNet"})).__module__ == "toy_child"
    finally:
        MODELS.children.pop("toy_child", None)


def test_a_project_without_entry_points_is_found_by_its_registry_module(announce):
    announce({}, {"toy_child.__init__": "", "toy_child.registry": CHILD})
    try:
        model = MODELS.build({"type": "toy_child.ChildNet"})
        assert type(model).__module__ == "toy_child.registry"
    finally:
        MODELS.children.pop("toy_child", None)


def test_a_registry_module_that_fails_is_shown(announce):
    announce({}, {"toy_child.__init__": "import toy_missing_library", "toy_child.registry": ""})
    with pytest.raises(UnknownComponentError, match="No module named 'toy_missing_library'"):
        MODELS.build({"type": "toy_child.ChildNet"})


def test_locations_are_imported_at_the_first_miss(announce, monkeypatch):
    announce({}, {"toy_models": REGISTERS.format(root="LOCATED", name="Net")})
    located = Registry("located", scope="toy", locations=["toy_models"])
    monkeypatch.setattr("drivetrain.registry.LOCATED", located, raising=False)
    assert "toy_models" not in sys.modules
    assert located.build({"type": "Net"}).kwargs == {}


def test_a_location_that_is_not_there_is_named_by_the_error():
    located = Registry("located", scope="toy", locations=["toy_nowhere.models"])
    with pytest.raises(UnknownComponentError, match=r"toy_nowhere\.models \(`locations` of"):
        located.build({"type": "Net"})


def test_a_provider_may_look_for_names_while_it_is_imported(announce, root):
    source = REGISTERS.format(root="TOY", name="Net") + "\nassert TOY.get('Absent') is None\n"
    announce({"drivetrain.toy_root": "toy_one"}, {"toy_one": source})
    assert root.build({"type": "Net"}).kwargs == {}


def test_a_distribution_that_appears_later_is_found(announce, root):
    assert root.get("Net") is None
    announce(
        {"drivetrain.toy_root": "toy_one"},
        {"toy_one": REGISTERS.format(root="TOY", name="Net")},
    )
    assert root.get("Net") is not None


def test_threads_that_miss_at_once_all_wait_for_the_import(announce, root):
    source = "import time\ntime.sleep(0.05)\n" + REGISTERS.format(root="TOY", name="Net")
    announce({"drivetrain.toy_root": "toy_one"}, {"toy_one": source})
    barrier, built = threading.Barrier(6), []

    def ask():
        barrier.wait()
        built.append(root.build({"type": "Net"}))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(built) == 6


@pytest.mark.parametrize(
    ("declared", "ok"), [("(1, 1)", True), ("(1, 7)", True), ("(2, 3)", False), ("(0, 0)", False)]
)
def test_a_provider_for_another_contract_is_refused(announce, root, declared, ok):
    source = REGISTERS.format(root="TOY", name="Net") + f"\nDRIVETRAIN_CONTRACT = {declared}\n"
    announce({"drivetrain.toy_root": "toy_one"}, {"toy_one": source})
    if ok:
        assert root.get("Net") is not None
        return
    with pytest.raises(UnknownComponentError, match="supports contract") as caught:
        root.build({"type": "Absent"})
    assert isinstance(caught.value.__cause__, ContractError)


def test_a_contract_that_is_no_range_is_refused(announce, root):
    announce({"drivetrain.toy_root": "toy_one"}, {"toy_one": "DRIVETRAIN_CONTRACT = '1'"})
    with pytest.raises(UnknownComponentError, match="must be two whole numbers"):
        root.build({"type": "Absent"})


def test_a_name_of_another_registry_is_found_without_importing_what_offers_it(announce, root):
    announce(
        {"drivetrain.toy_other": "toy_parts", "drivetrain.toy_third": "toy_parts"},
        {
            "toy_parts.__init__": "raise SystemError('imported')",
            "toy_parts._net": "class OnlyHere:\n    pass\n",
        },
        "toy-parts",
        "0.3.1",
    )
    with pytest.raises(UnknownComponentError) as caught:
        root.build({"type": "OnlyHere"})
    assert "Perhaps in:    toy-parts 0.3.1, which announces toy_other, toy_third" in str(
        caught.value
    )
    assert "toy_parts" not in sys.modules


def test_a_scope_that_nothing_installed_has_is_said_to_be_missing(root):
    with pytest.raises(UnknownComponentError, match="Nothing that is installed announces scope"):
        root.build({"type": "mmdet.YOLOX"})


def test_a_missing_package_of_ours_is_named(monkeypatch):
    monkeypatch.setattr("drivetrain.registry._explain_unknown.announced", list)
    monkeypatch.setattr(HOOKS, "_module_dict", {})
    monkeypatch.setattr(HOOKS, "providers", list)
    with pytest.raises(UnknownComponentError, match="pip install drivetrain-runner"):
        HOOKS.build({"type": "NoSuchHookAnywhere"})

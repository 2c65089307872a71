"""Seeing what there is, by function and by command."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys

import pytest

from drivetrain.registry import TASK_UTILS, Registry, UnknownComponentError
from drivetrain.registry.__main__ import main
from drivetrain.registry.listing import (
    describe_component,
    failed_providers,
    list_components,
    list_registries,
    render_component,
    render_list,
    render_registries,
)

SOURCE = '''
from drivetrain.registry import {root}


@{root}.register_module()
class ToyTimer:
    """Measure how long a step takes.

    Args:
        interval_iters: How often.
    """

    def __init__(self, interval_iters: int = 50, *, path, **rest) -> None: ...
'''


@pytest.fixture
def toy(announce, monkeypatch):
    gc.collect()  # the registries of earlier tests are parts of cycles
    registry = Registry("toy_kind", scope="drivetrain")
    monkeypatch.setattr("drivetrain.registry.TOY", registry, raising=False)
    announce(
        {"drivetrain.toy_kind": "toy_timer"}, {"toy_timer": SOURCE.format(root="TOY")}, "toy-dist"
    )
    return registry


def test_components_are_listed_with_where_they_come_from(toy):
    assert list_components("toy_kind") == [
        {
            "registry": "toy_kind",
            "scope": "drivetrain",
            "name": "ToyTimer",
            "component": "toy_timer.ToyTimer",
            "summary": "Measure how long a step takes.",
            "distribution": "toy-dist",
            "version": "0.3.1",
        }
    ]


def test_the_list_as_text_is_a_table(toy):
    text = render_list(list_components("toy_kind"))
    assert text == (
        "registry  name      what it is\ntoy_kind  ToyTimer  Measure how long a step takes."
    )


def test_a_component_is_described_with_signature_doc_and_source(toy):
    described = describe_component("ToyTimer", "toy_kind")
    assert described["signature"] == "ToyTimer(interval_iters: int = 50, *, path, **rest)"
    assert described["source"].endswith("toy_timer.py:5")
    assert described["doc"].startswith("Measure how long a step takes.\n\nArgs:")
    assert described["arguments"] == [
        {"name": "interval_iters", "required": False, "default": "50", "annotation": "int"},
        {"name": "path", "required": True, "default": None, "annotation": None},
        {"name": "**rest", "required": False, "default": None, "annotation": None},
    ]
    text = render_component(described)
    assert "Provided by  toy-dist 0.3.1" in text
    assert "    Measure how long a step takes." in text


def test_a_misspelt_component_is_answered_with_the_nearest(toy):
    with pytest.raises(UnknownComponentError, match="Did you mean:  'ToyTimer'"):
        describe_component("ToyTmer", "toy_kind")


def test_a_name_that_several_registries_have_must_be_told_apart(toy, monkeypatch):
    other = Registry("toy_other", scope="drivetrain")
    other.register_module(name="ToyTimer", module=dict)
    monkeypatch.setattr("drivetrain.registry.listing.live_registries", lambda: [toy, other])
    with pytest.raises(UnknownComponentError, match="'ToyTimer' is in several registries"):
        describe_component("ToyTimer")
    assert describe_component("ToyTimer", "toy_other")["component"] == "builtins.dict"


def test_a_component_of_another_scope_is_found_by_its_prefix():
    root = Registry("toy_tree", scope="drivetrain")
    zoo = Registry("toy_tree", parent=root, scope="toy_zoo")
    zoo.register_module(name="Lion", module=dict)
    assert describe_component("toy_zoo.Lion", "toy_tree")["scope"] == "toy_zoo"
    assert "toy_zoo.Lion" in render_list(list_components("toy_tree"))


@pytest.mark.parametrize("name", ["toy_kind", "TOY_KINDS", "toykind"])
def test_a_registry_is_found_by_its_name_and_by_its_variable(toy, name):
    assert [row["name"] for row in list_components(name)] == ["ToyTimer"]


def test_an_unknown_registry_is_answered_with_the_nearest():
    with pytest.raises(UnknownComponentError, match=r"no registry 'hoook'\.\n.*'hook'"):
        list_components("hoook")


def test_listing_registries_imports_nothing(toy):
    row = next(row for row in list_registries() if row["name"] == "toy_kind")
    assert row == {
        "name": "toy_kind",
        "scope": "drivetrain",
        "components": 0,
        "providers": ["toy-dist 0.3.1"],
    }
    assert "toy_timer" not in sys.modules
    assert "toy_kind" in render_registries(list_registries())


def test_a_provider_that_failed_is_reported(announce):
    announce({"drivetrain.toy_broken": "toy_bad"}, {"toy_bad": "1 / 0"}, "toy-bad")
    registry = Registry("toy_broken", scope="drivetrain")
    assert list_components("toy_broken") == []
    assert failed_providers() == [
        {
            "module": "toy_bad",
            "provider": "toy-bad 0.3.1",
            "error": "ZeroDivisionError: division by zero",
        }
    ]
    assert len(registry) == 0


def test_ls_prints_a_table_and_json(toy, capsys):
    assert main(["ls", "toy_kind"]) == 0
    assert "ToyTimer" in capsys.readouterr().out
    assert main(["ls", "toy_kind", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "ToyTimer"
    assert main(["ls", "--registries", "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} >= {"hook", "toy_kind"}


def test_show_prints_text_and_json(toy, monkeypatch, capsys):
    monkeypatch.setattr("drivetrain.registry.listing.live_registries", lambda: [toy])
    assert main(["show", "ToyTimer"]) == 0
    assert capsys.readouterr().out.startswith("Name         ToyTimer (registry 'toy_kind')\n")
    assert main(["show", "ToyTimer", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["distribution"] == "toy-dist"


def test_a_name_that_does_not_exist_is_an_exit_code_and_no_traceback(toy, capsys):
    assert main(["show", "ToyTmer"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("no 'ToyTmer' in any registry.\n  Did you mean:  'ToyTimer'")


def test_the_module_is_a_command_that_finds_components_of_installed_distributions(announce):
    folder = announce(
        {"drivetrain.task_util": "toy_timer"},
        {"toy_timer": SOURCE.format(root="TASK_UTILS")},
        "toy-dist",
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "drivetrain.registry",
            "show",
            "ToyTimer",
            "--registry",
            "task_util",
        ],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Provided by  toy-dist 0.3.1" in done.stdout
    assert "ToyTimer" not in TASK_UTILS.module_dict

"""Where errors say that they happened."""

from __future__ import annotations

import pickle
import threading

import pytest

from drivetrain.registry import (
    ComponentBuildError,
    Registry,
    RegistryError,
    building,
    current_path,
)


@pytest.fixture
def models():
    registry = Registry("model", scope="toy")

    @registry.register_module()
    class Leaf:
        def __init__(self, depth=1):
            if depth < 0:
                raise ValueError("depth must not be negative")

    @registry.register_module()
    class Tree:
        def __init__(self, left=None, rights=(), mutated=None):
            if left:
                registry.build(left)
            for right in rights:
                registry.build(right)
            if mutated:
                registry.build({**mutated, "depth": -1})

    @registry.register_module()
    class Careful:
        def __init__(self, part):
            with building("inside.part"):
                registry.build(part)

    return registry


def first_line(models, cfg):
    with pytest.raises(RegistryError) as caught:
        models.build(cfg)
    return str(caught.value).splitlines()[0]


def test_paths_nest_and_end():
    assert current_path() == ""
    with building("train_dataloader") as outer:
        with building("sampler") as inner:
            assert (inner, current_path()) == (
                "train_dataloader.sampler",
                "train_dataloader.sampler",
            )
        assert outer == current_path() == "train_dataloader"
    assert current_path() == ""


def test_an_index_may_be_given_either_way_and_is_shown_as_overrides_write_it():
    with building("pipeline"), building("[3]"), building(""), building("scale"):
        assert current_path() == "pipeline.3.scale"
    with building("[0]"), building("a[1]"):
        assert current_path() == "0.a.1"


def test_an_exception_ends_the_path():
    with pytest.raises(ZeroDivisionError), building("model"):
        raise ZeroDivisionError
    assert current_path() == ""


def test_each_thread_has_its_own_path():
    seen = []
    with building("model"):
        thread = threading.Thread(target=lambda: seen.append(current_path()))
        thread.start()
        thread.join()
    assert seen == [""]


def test_an_error_starts_with_the_path(models):
    with building("train.model"):
        line = first_line(models, {"type": "Leef"})
    assert line == "train.model: no 'Leef' in registry 'model'."


def test_a_node_inside_a_node_is_found_without_being_named(models):
    with building("model"):
        assert first_line(models, {"type": "Tree", "left": {"type": "Leef"}}) == (
            "model.left: no 'Leef' in registry 'model'."
        )


def test_nodes_are_found_at_every_depth_and_in_lists(models):
    cfg = {
        "type": "Tree",
        "rights": [
            {"type": "Leaf"},
            {"type": "Tree", "left": {"type": "Leaf", "depht": 3}},
        ],
    }
    assert first_line(models, cfg) == "rights.1.left: Leaf takes no argument 'depht'."


def test_a_node_that_was_copied_on_the_way_is_found_by_its_type(models):
    cfg = {"type": "Tree", "mutated": {"type": "Leaf"}}
    assert first_line(models, cfg) == (
        "mutated: Leaf could not be built: ValueError: depth must not be negative"
    )


def test_a_path_that_a_component_names_itself_is_kept(models):
    with building("model"):
        line = first_line(models, {"type": "Careful", "part": {"type": "Leef"}})
    assert line == "model.inside.part: no 'Leef' in registry 'model'."


def test_file_and_line_are_shown_where_they_are_known(models):
    places = {"model": "config.py:3", "model.left": "config.py:7"}
    with building("", locate=places.get), building("model"):
        with pytest.raises(RegistryError, match=r"Config:        config\.py:3"):
            models.build({"type": "Leef"})
        with pytest.raises(RegistryError) as caught:
            models.build({"type": "Tree", "left": {"type": "Leef"}})
    assert "config.py:7" in str(caught.value)
    assert "config.py:3" not in str(caught.value)


def test_a_place_is_asked_for_as_overrides_write_it_then_for_the_node_around():
    asked = []

    def locate(path):
        asked.append(path)
        if path != "hooks":
            raise KeyError(path)
        return "config.py:9"

    registry = Registry("hook", scope="toy")
    with (
        building("hooks", locate=locate),
        building("[2]"),
        pytest.raises(RegistryError, match=r"config\.py:9"),
    ):
        registry.build({"type": "Absent"})
    assert asked[:2] == ["hooks.2", "hooks"]


def test_an_error_about_an_error_place_does_not_hide_the_error(models):
    with building("model", locate=lambda path: 1 / 0):
        assert first_line(models, {"type": "Leef"}).startswith("model: no 'Leef'")


def test_the_error_carries_its_data(models):
    node = {"type": "Leaf", "depth": -1}
    with building("model"), pytest.raises(ComponentBuildError) as caught:
        models.build(node)
    assert caught.value.node_path == "model"
    assert caught.value.node is node
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    "cfg",
    [{"type": "Leef"}, {"type": "Leaf", "x": 1}, {"type": "Leaf", "depth": -1}, {}],
    ids=["unknown", "argument", "build", "node"],
)
def test_errors_survive_pickling(models, cfg):
    with building("model"), pytest.raises(RegistryError) as caught:
        models.build(cfg)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert isinstance(again, RegistryError)

"""Trees of registries: parents, siblings, and which scope is asked first."""

from __future__ import annotations

import pytest

from drivetrain.registry import (
    MODELS,
    DefaultScope,
    DuplicateNameError,
    Registry,
    UnknownComponentError,
    build_from_cfg,
    init_default_scope,
)


def component(name):
    return type(name, (), {"__init__": lambda self, **kwargs: vars(self).update(kwargs)})


class Forest:
    """A root with two projects below it, and one below the first of them.

    Every registry has a component of its own, and one that all of them name ``Shared``.
    """

    def __init__(self):
        self.root = Registry("model", scope="drivetrain")
        self.alpha = Registry("model", parent=self.root, scope="alpha")
        self.beta = Registry("model", parent=self.root, scope="beta")
        self.gamma = Registry("model", parent=self.alpha, scope="gamma")
        for registry, own in (
            (self.root, "RootNet"),
            (self.alpha, "AlphaNet"),
            (self.beta, "BetaNet"),
            (self.gamma, "GammaNet"),
        ):
            registry.register_module(name=own, module=component(own))
            shared = component(f"Shared of {registry.scope}")
            registry.register_module(name="Shared", module=shared)


@pytest.fixture
def forest():
    return Forest()


def built(registry, type_, **keys):
    return type(registry.build({"type": type_, **keys})).__name__


@pytest.mark.parametrize(
    ("start", "type_", "expected"),
    [
        ("alpha", "AlphaNet", "AlphaNet"),
        ("alpha", "RootNet", "RootNet"),
        ("alpha", "Shared", "Shared of alpha"),
        ("alpha", "drivetrain.RootNet", "RootNet"),
        ("alpha", "drivetrain.Shared", "Shared of drivetrain"),
        ("alpha", "mmengine.Shared", "Shared of drivetrain"),
        ("alpha", "alpha.Shared", "Shared of alpha"),
        ("alpha", "beta.BetaNet", "BetaNet"),
        ("beta", "alpha.gamma.GammaNet", "GammaNet"),
        ("beta", "gamma.GammaNet", "GammaNet"),
        ("gamma", "RootNet", "RootNet"),
        ("gamma", "beta.Shared", "Shared of beta"),
        ("root", "alpha.AlphaNet", "AlphaNet"),
        ("root", "Shared", "Shared of drivetrain"),
    ],
)
def test_a_name_is_looked_up_here_then_in_the_parents_and_by_scope_anywhere(
    forest, start, type_, expected
):
    registry = getattr(forest, start)
    assert built(registry, type_) == expected
    assert built(registry, type_) == expected  # from the names resolved before
    assert registry.get(type_).__name__ == expected


def test_a_scope_offers_what_its_parents_offer(forest):
    """Configs say ``mmdet.LoadImageFromFile`` for a transform that mmdet has from the root."""
    for registry in (forest.root, forest.alpha, forest.beta):
        assert built(registry, "alpha.RootNet") == "RootNet"
    assert forest.root.get("alpha.gamma.RootNet").__name__ == "RootNet"


def test_a_scope_does_not_offer_what_others_offer(forest):
    assert forest.alpha.get("alpha.BetaNet") is None
    with pytest.raises(UnknownComponentError, match=r"Did you mean:  'beta\.BetaNet'"):
        forest.alpha.build({"type": "alpha.BetaNet"})


def test_a_name_of_a_child_needs_its_prefix(forest):
    with pytest.raises(UnknownComponentError, match=r"Did you mean:  'alpha\.AlphaNet'"):
        forest.root.build({"type": "AlphaNet"})


def test_a_scope_is_taken_once_below_one_parent(forest):
    with pytest.raises(DuplicateNameError, match="scope 'alpha' exists already"):
        Registry("model", parent=forest.root, scope="alpha")


def test_a_new_child_is_found_at_once(forest):
    with pytest.raises(UnknownComponentError):
        forest.root.build({"type": "delta.DeltaNet"})
    delta = Registry("model", parent=forest.root, scope="delta")
    delta.register_module(name="DeltaNet", module=component("DeltaNet"))
    assert built(forest.root, "delta.DeltaNet") == "DeltaNet"


def test_the_default_scope_is_asked_first(forest):
    DefaultScope.get_instance("task", scope_name="beta")
    assert built(forest.root, "Shared") == "Shared of beta"
    assert built(forest.alpha, "Shared") == "Shared of beta"
    assert built(forest.root, "RootNet") == "RootNet"


def test_behind_the_default_scope_the_registry_itself_is_still_asked(forest):
    init_default_scope("drivetrain")
    assert built(forest.alpha, "AlphaNet") == "AlphaNet"
    assert built(forest.alpha, "Shared") == "Shared of drivetrain"


@pytest.mark.parametrize("alias", ["drivetrain", "mmengine"])
def test_the_root_scope_has_two_names(forest, alias):
    init_default_scope(alias)
    assert DefaultScope.get_current_instance().scope_name == alias
    assert built(forest.root, "Shared") == "Shared of drivetrain"
    with forest.alpha.switch_scope_and_registry(alias) as registry:
        assert registry is forest.root


def test_a_default_scope_without_a_registry_in_this_tree_changes_nothing(forest):
    init_default_scope("nobody")
    assert built(forest.alpha, "Shared") == "Shared of alpha"


def test_a_changed_default_scope_changes_what_a_name_means(forest):
    for scope in ("alpha", "beta", "alpha"):
        init_default_scope(scope)
        assert built(forest.root, "Shared") == f"Shared of {scope}"


def test_a_node_can_put_another_scope_in_force_for_itself(forest):
    node = {"type": "Shared", "_scope_": "beta", "width": 3}
    model = forest.alpha.build(node)
    assert type(model).__name__ == "Shared of beta"
    assert vars(model) == {"width": 3}
    assert DefaultScope.get_current_instance() is None
    assert node == {"type": "Shared", "_scope_": "beta", "width": 3}


def test_the_scope_of_a_node_holds_for_what_it_builds(forest):
    @forest.beta.register_module()
    class Detector:
        def __init__(self, backbone):
            self.backbone = forest.root.build(backbone)

    model = forest.root.build(
        {"type": "Detector", "_scope_": "beta", "backbone": {"type": "Shared"}}
    )
    assert type(model.backbone).__name__ == "Shared of beta"


def test_a_prefix_does_not_hold_for_what_it_builds(forest):
    @forest.beta.register_module()
    class Detector:
        def __init__(self, backbone):
            self.backbone = forest.root.build(backbone)

    model = forest.root.build({"type": "beta.Detector", "backbone": {"type": "Shared"}})
    assert type(model.backbone).__name__ == "Shared of drivetrain"


def test_an_exception_leaves_no_scope_switched(forest):
    @forest.beta.register_module()
    class Broken:
        def __init__(self):
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        forest.root.build({"type": "Broken", "_scope_": "beta"})
    assert DefaultScope.get_current_instance() is None
    assert built(forest.root, "Shared") == "Shared of drivetrain"


def test_switching_scopes_nests_and_restores(forest):
    DefaultScope.get_instance("task", scope_name="gamma")
    with forest.alpha.switch_scope_and_registry("beta") as outer:
        assert (outer, DefaultScope.get_current_instance().scope_name) == (forest.beta, "beta")
        with forest.alpha.switch_scope_and_registry("alpha") as inner:
            assert (inner, DefaultScope.get_current_instance().scope_name) == (
                forest.alpha,
                "alpha",
            )
        assert DefaultScope.get_current_instance().scope_name == "beta"
        with forest.alpha.switch_scope_and_registry(None) as same:
            assert same is forest.beta
    assert DefaultScope.get_current_instance().scope_name == "gamma"


def test_switching_to_a_scope_that_is_not_there_yields_the_registry_itself(forest):
    with forest.alpha.switch_scope_and_registry("nobody") as registry:
        assert registry is forest.alpha


def test_switching_is_undone_by_an_exception(forest):
    with pytest.raises(ZeroDivisionError), forest.alpha.switch_scope_and_registry("beta"):
        raise ZeroDivisionError
    assert DefaultScope.get_current_instance() is None


def test_the_scope_in_force_that_has_no_such_registry_is_named_in_the_error(forest):
    init_default_scope("nobody")
    with pytest.raises(UnknownComponentError, match="scope 'nobody' is in force, and has no"):
        forest.root.build({"type": "Nothing"})


def test_build_from_cfg_follows_the_default_scope(forest):
    init_default_scope("alpha")
    assert type(build_from_cfg({"type": "Shared"}, forest.root)).__name__ == "Shared of alpha"


def test_a_child_inherits_the_build_function_of_its_parent():
    def build(cfg, registry, **kwargs):
        return cfg["type"], registry.scope

    root = Registry("thing", build_func=build, scope="one")
    child = Registry("thing", parent=root, scope="two")
    own = Registry("thing", build_func=build_from_cfg, parent=root, scope="three")
    assert child.build({"type": "anything"}) == ("anything", "two")
    assert own.build_func is build_from_cfg


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("mmdet.ResNet", ("mmdet", "ResNet")),
        ("ResNet", (None, "ResNet")),
        ("a.b.C", ("a", "b.C")),
    ],
)
def test_the_first_scope_is_split_from_a_key(key, expected):
    assert Registry.split_scope_key(key) == expected


def test_get_wants_a_string():
    with pytest.raises(TypeError, match="the key must be a string"):
        MODELS.get(1)


def test_default_scope_wants_a_string():
    with pytest.raises(TypeError, match="scope_name must be a string"):
        DefaultScope.get_instance("task", scope_name=1)


def test_without_any_default_scope_there_is_none():
    assert DefaultScope.get_current_instance() is None


def test_overwriting_with_none_changes_nothing():
    init_default_scope("alpha")
    with DefaultScope.overwrite_default_scope(None):
        assert DefaultScope.get_current_instance().scope_name == "alpha"


def test_initializing_a_scope_again_makes_it_the_current_one():
    init_default_scope("alpha")
    first = DefaultScope.get_current_instance()
    init_default_scope("alpha")
    assert DefaultScope.get_current_instance() is first
    init_default_scope("beta")
    init_default_scope("alpha")
    assert DefaultScope.get_current_instance().scope_name == "alpha"

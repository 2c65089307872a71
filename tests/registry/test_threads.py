"""Registering, building and switching scopes from many threads."""

from __future__ import annotations

import threading

import pytest

from drivetrain.registry import DefaultScope, Registry


def run_all(work, count=8):
    """Run ``work(index)`` in many threads at once; raise what any of them raised."""
    barrier, failures = threading.Barrier(count), []

    def run(index):
        barrier.wait()
        try:
            work(index)
        except BaseException as err:
            failures.append(err)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


@pytest.fixture
def tree():
    root = Registry("model", scope="root")
    children = [Registry("model", parent=root, scope=f"s{index}") for index in range(8)]
    for child in children:
        child.register_module(name="Net", module=type(f"Net of {child.scope}", (), {}))
    return root, children


def test_every_thread_builds_in_its_own_scope(tree):
    root, _ = tree

    def work(index):
        for _ in range(200):
            with DefaultScope.overwrite_default_scope(f"s{index}"):
                assert type(root.build({"type": "Net"})).__name__ == f"Net of s{index}"
            node = {"type": "Net", "_scope_": f"s{index}"}
            assert type(root.build(node)).__name__ == f"Net of s{index}"
            assert DefaultScope.get_current_instance() is None

    run_all(work)


def test_building_goes_on_while_others_register(tree):
    root, children = tree

    def work(index):
        child = children[index]
        for number in range(100):
            child.register_module(name=f"N{number}", module=dict)
            assert root.build({"type": f"s{index}.N{number}", "a": 1}) == {"a": 1}
            child.register_module(name="Net", module=dict if number % 2 else list, force=True)
            expected = dict if number % 2 else list
            assert type(root.build({"type": f"s{index}.Net"})) is expected

    run_all(work)
    assert all(len(child) == 101 for child in children)


def test_of_many_threads_that_register_one_name_one_wins():
    registry, refused = Registry("model", scope="root"), []

    def work(index):
        try:
            registry.register_module(name="Net", module=dict)
        except KeyError:
            refused.append(index)

    run_all(work)
    assert len(refused) == 7


def test_a_build_that_raises_leaves_no_lock_held(tree):
    root, children = tree
    for cfg in ({"type": "Absent"}, {"type": "Net", "x": 1}, {}, "Net"):
        with pytest.raises((KeyError, TypeError)):
            root.build(cfg)

    def work(index):
        children[index].register_module(name="Other", module=dict)
        assert root.build({"type": f"s{index}.Other"}) == {}

    run_all(work)


def test_a_component_may_build_in_another_thread_while_it_is_built(tree):
    root, _ = tree

    class Parallel:
        def __init__(self):
            self.parts = []
            thread = threading.Thread(
                target=lambda: self.parts.append(root.build({"type": "Part"}))
            )
            thread.start()
            thread.join(timeout=10)

    root.register_module(module=Parallel)
    root.register_module(name="Part", module=dict)
    assert root.build({"type": "Parallel"}).parts == [{}]

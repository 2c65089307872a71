"""Instances that are created once a name."""

from __future__ import annotations

import threading
from functools import wraps

import pytest

from drivetrain.registry import InstanceError, ManagerMeta, ManagerMixin, Registry, UsageError
from drivetrain.registry.testing import reset_global_state


class Clock(ManagerMixin):
    def __init__(self, name, hour=0):
        super().__init__(name)
        self.hour = hour


class Watch(Clock):
    pass


def test_an_instance_is_created_once_a_name():
    clock = Clock.get_instance("kitchen", hour=7)
    assert Clock.get_instance("kitchen") is clock
    assert (clock.hour, clock.instance_name) == (7, "kitchen")
    assert Clock.check_instance_created("kitchen")
    assert not Clock.check_instance_created("hall")


def test_the_current_instance_is_the_one_created_last():
    Clock.get_instance("kitchen")
    hall = Clock.get_instance("hall")
    Clock.get_instance("kitchen")
    assert Clock.get_current_instance() is hall


def test_without_an_instance_there_is_no_current_one():
    with pytest.raises(RuntimeError, match="No instance of Clock exists yet") as caught:
        Clock.get_current_instance()
    assert "Clock.get_instance(" in str(caught.value)


def test_arguments_for_an_existing_instance_are_an_error_not_lost():
    Clock.get_instance("kitchen", hour=7)
    with pytest.raises(InstanceError, match=r"'kitchen' exists already .*\(hour\)"):
        Clock.get_instance("kitchen", hour=8)
    assert Clock.get_instance("kitchen").hour == 7


def test_the_same_arguments_for_an_existing_instance_lose_nothing():
    clock = Clock.get_instance("kitchen", hour=7)
    assert Clock.get_instance("kitchen", hour=7) is clock


@pytest.mark.parametrize("name", [1, None, ""], ids=repr)
def test_a_name_must_be_a_string_with_something_in_it(name):
    with pytest.raises(UsageError, match="must be a string"):
        Clock.get_instance(name)


def test_subclasses_keep_instances_of_their_own():
    clock, watch = Clock.get_instance("a"), Watch.get_instance("a")
    assert (type(clock), type(watch)) == (Clock, Watch)
    assert Clock.get_current_instance() is clock


def test_a_class_whose_instances_cannot_be_named_is_refused():
    with pytest.raises(UsageError, match="takes no argument 'name'"):

        class Nameless(metaclass=ManagerMeta):
            def __init__(self, *args, **kwargs):
                pass


def test_a_wrapped_constructor_is_looked_through():
    def traced(init):
        @wraps(init)
        def inner(*args, **kwargs):
            return init(*args, **kwargs)

        return type("Traced", (), {"__call__": inner, "__wrapped__": init})()

    class Traced(ManagerMixin):
        __init__ = traced(ManagerMixin.__init__)

    assert isinstance(Traced, ManagerMeta)


def test_a_constructor_that_raises_leaves_no_instance_and_no_lock():
    class Fragile(ManagerMixin):
        def __init__(self, name, ok=False):
            super().__init__(name)
            if not ok:
                raise ValueError("not ok")

    with pytest.raises(ValueError, match="not ok"):
        Fragile.get_instance("a")
    assert not Fragile.check_instance_created("a")
    made = []
    thread = threading.Thread(target=lambda: made.append(Fragile.get_instance("a", ok=True)))
    thread.start()
    thread.join(timeout=10)
    assert made


def test_many_threads_get_one_instance():
    barrier, made = threading.Barrier(8), []

    def ask():
        barrier.wait()
        made.append(Clock.get_instance("shared"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, made))) == 1


def test_a_constructor_may_wait_for_a_thread_that_asks_for_another_instance():
    class Slow(ManagerMixin):
        def __init__(self, name):
            super().__init__(name)
            thread = threading.Thread(target=Clock.get_instance, args=("other",))
            thread.start()
            thread.join(timeout=10)
            self.waited_in_vain = thread.is_alive()

    assert not Slow.get_instance("a").waited_in_vain


def test_threads_that_ask_while_an_instance_is_made_get_that_one():
    started, made = threading.Event(), []

    class Slow(ManagerMixin):
        count = 0

        def __init__(self, name):
            super().__init__(name)
            started.set()
            Slow.count += 1
            helper.join(timeout=0.1)  # give it the time to ask too early

    def ask():
        started.wait()
        made.append(Slow.get_instance("a"))

    helper = threading.Thread(target=ask)
    helper.start()
    first = Slow.get_instance("a")
    helper.join(timeout=10)
    assert made == [first]
    assert Slow.count == 1


def test_a_registry_builds_the_instance_of_that_name():
    things = Registry("visualizer", scope="toy")
    things.register_module(module=Clock)
    clock = things.build({"type": "Clock", "name": "kitchen", "hour": 3})
    assert clock is Clock.get_instance("kitchen")
    assert things.build({"type": "Clock", "name": "kitchen"}) is clock
    assert things.build({"type": Clock, "name": "kitchen"}) is clock


def test_a_reset_forgets_the_instances_of_all_classes():
    Clock.get_instance("a")
    Watch.get_instance("b")
    reset_global_state()
    assert not Clock.check_instance_created("a")
    assert not Watch.check_instance_created("b")

"""Classic mistakes, each with the first line, and where it helps the second, that answers it."""

from __future__ import annotations

import types
from functools import partial

import pytest

from drivetrain.registry import (
    DATA_SAMPLERS,
    HOOKS,
    METRICS,
    MODELS,
    ComponentArgumentError,
    ComponentBuildError,
    ManagerMixin,
    NodeError,
    Registry,
    RegistryError,
    UnknownComponentError,
    UsageError,
    build_from_cfg,
    building,
)


class Board(ManagerMixin):
    def __init__(self, name, width=10):
        super().__init__(name)
        self.width = width


class ResNet:
    def __init__(self, depth, stages=4, *, norm_cfg=None):
        if depth not in (18, 50):
            raise KeyError(f"no ResNet of depth {depth}")


class Wide(ResNet):
    def __init__(self, width=2, **kwargs):
        super().__init__(depth=18, **kwargs)


class Detector:
    def __init__(self, backbone=None, heads=()):
        for part in (backbone, *heads):
            if part is not None:
                Shop.models.build(part)


class FileReader:
    def __init__(self, path):
        open(path)  # noqa: SIM115


class Wrong:
    def __init__(self):
        None + 1


class Abstract:
    def __init__(self):
        self.missing_method()


class Positional:
    def __init__(self, depth, /):
        pass


class Shop:
    """The registries that the mistakes are made with: a root, and a project below it."""

    models: Registry

    def __init__(self):
        self.models = Registry("model", scope="shop")
        self.zoo = Registry("model", parent=self.models, scope="zoo")
        self.hooks = Registry("hook", scope="shop")
        for component in (
            *(ResNet, Wide, Detector, FileReader, Wrong, Abstract, Positional, Board),
            complex,
        ):
            self.models.register_module(module=component)
        self.zoo.register_module(name="Lion", module=dict)
        self.hooks.register_module(name="TimerHook", module=dict)
        Shop.models = self.models


@pytest.fixture
def shop():
    return Shop()


def case(id_, cfg, error, first, *more, registry="models", **kwargs):
    return pytest.param(cfg, error, first, more, registry, kwargs, id=id_)


MISTAKES = [
    # --- the type ---
    case(
        "one letter missing",
        {"type": "ResNt", "depth": 18},
        (UnknownComponentError, KeyError),
        "no 'ResNt' in registry 'model'.",
        "Did you mean:  'ResNet'",
    ),
    case(
        "wrong case",
        {"type": "resnet", "depth": 18},
        KeyError,
        "no 'resnet' in registry 'model'.",
        "Did you mean:  'ResNet'",
    ),
    case(
        "underscores",
        {"type": "File_Reader"},
        KeyError,
        "no 'File_Reader' in registry 'model'.",
        "Did you mean:  'FileReader'",
    ),
    case(
        "nothing like it",
        {"type": "Quux"},
        KeyError,
        "no 'Quux' in registry 'model'.",
        "Your own?      Register it, and list its module in `custom_imports`.",
    ),
    case(
        "the name of another registry",
        {"type": "TimerHook"},
        KeyError,
        "no 'TimerHook' in registry 'model'.",
        "It exists in:  registry 'hook' as 'shop.TimerHook'",
    ),
    case(
        "prefix of a project forgotten",
        {"type": "Lion"},
        KeyError,
        "no 'Lion' in registry 'model'.",
        "Did you mean:  'zoo.Lion'",
    ),
    case(
        "prefix of the wrong project",
        {"type": "shop.Lion"},
        KeyError,
        "no 'shop.Lion' in registry 'model'.",
        "Did you mean:  'zoo.Lion'",
    ),
    case(
        "misspelt prefix",
        {"type": "zooo.Lion"},
        KeyError,
        "no 'zooo.Lion' in registry 'model': there is no scope or module 'zooo'.",
        "Did you mean:  'zoo.Lion'",
    ),
    case(
        "misspelt name behind a prefix",
        {"type": "zoo.Lyon"},
        KeyError,
        "no 'zoo.Lyon' in registry 'model'.",
        "Did you mean:  'zoo.Lion'",
    ),
    case(
        "project not installed",
        {"type": "mmdet.YOLOX"},
        KeyError,
        "no 'mmdet.YOLOX' in registry 'model': there is no scope or module 'mmdet'.",
    ),
    case(
        "misspelt name in a module",
        {"type": "collections.OrderdDict"},
        KeyError,
        "no 'collections.OrderdDict' in registry 'model', and module 'collections' has no such",
        "Did you mean:  'collections.OrderedDict'",
    ),
    case(
        "a whole module as type",
        {"type": types},
        (NodeError, TypeError),
        "`type` must be a name, a class or a function, got module <module 'types' from ",
    ),
    case(
        "an instance as type",
        {"type": 3},
        TypeError,
        "`type` must be a name, a class or a function, got int 3.",
    ),
    case(
        "None as type",
        {"type": None},
        TypeError,
        "`type` must be a name, a class or a function, got NoneType None.",
    ),
    case(
        "a list as type",
        {"type": ["ResNet"]},
        TypeError,
        "`type` must be a name, a class or a function, got list ['ResNet'].",
    ),
    case(
        "an empty type",
        {"type": ""},
        KeyError,
        "no '' in registry 'model'.",
    ),
    case(
        "blanks around the type",
        {"type": " ResNet"},
        KeyError,
        "no ' ResNet' in registry 'model'.",
        "Did you mean:  'ResNet'",
    ),
    case(
        "an unknown scope asked for",
        {"type": "Quux", "_scope_": "nowhere"},
        KeyError,
        "no 'Quux' in registry 'model'.",
        "scope 'nowhere' is in force, and has no registry 'model'",
    ),
    case(
        "a scope that is no string",
        {"type": "ResNet", "_scope_": 1},
        TypeError,
        "`_scope_` must be a string, got 1.",
    ),
    # --- the node ---
    case(
        "no type",
        {"depth": 18},
        (NodeError, TypeError),
        "the node has no `type` (its keys: depth).",
    ),
    case(
        "type misspelt",
        {"tpye": "ResNet", "depth": 18},
        TypeError,
        "the node has no `type` (its keys: tpye, depth).",
        "Did you mean:  'type' instead of 'tpye'",
    ),
    case("nothing at all", {}, TypeError, "the node has no `type` (its keys: none)."),
    case(
        "a name instead of a node",
        "ResNet",
        TypeError,
        "a node is a mapping with `type`, got str 'ResNet'.",
        "To do:         write dict(type='ResNet')",
    ),
    case(
        "a class instead of a node",
        ResNet,
        TypeError,
        "a node is a mapping with `type`, got type ",
        "To do:         write dict(type=ResNet, ...)",
    ),
    case("None instead of a node", None, TypeError, "a node is a mapping with `type`, got None."),
    case(
        "a number instead of a node",
        18,
        TypeError,
        "a node is a mapping with `type`, got int 18.",
    ),
    case(
        "a list where one is expected",
        [{"type": "ResNet"}],
        TypeError,
        "a node is a mapping with `type`, got list [{'type': 'ResNet'}].",
        "To do:         build its items one by one",
    ),
    case(
        "keys that are no strings",
        {"type": "Wide", 3: 4},
        TypeError,
        "Wide: the keys of a node must be strings, got 3.",
    ),
    # --- the arguments ---
    case(
        "misspelt argument",
        {"type": "ResNet", "depth": 18, "stagse": 3},
        (ComponentArgumentError, TypeError),
        "ResNet takes no argument 'stagse'.",
        "Did you mean:  'stages'",
        "Signature:     ResNet(depth, stages=4, *, norm_cfg=None)",
    ),
    case(
        "missing argument",
        {"type": "ResNet"},
        TypeError,
        "ResNet needs 'depth'.",
        "Signature:     ResNet(depth, stages=4, *, norm_cfg=None)",
    ),
    case(
        "required argument misspelt",
        {"type": "ResNet", "dpeth": 18},
        TypeError,
        "ResNet takes no argument 'dpeth' and needs 'depth'.",
        "Did you mean:  'depth'",
    ),
    case(
        "several unknown arguments",
        {"type": "ResNet", "depth": 18, "foo": 1, "bar": 2},
        TypeError,
        "ResNet takes no arguments 'foo', 'bar'.",
    ),
    case(
        "norm instead of norm_cfg",
        {"type": "ResNet", "depth": 18, "normcfg": {}},
        TypeError,
        "ResNet takes no argument 'normcfg'.",
        "Did you mean:  'norm_cfg'",
    ),
    case(
        "an argument that kwargs pass on to somebody who refuses it",
        {"type": "Wide", "stagse": 3},
        TypeError,
        "Wide takes no argument 'stagse': ",
        "Did you mean:  'stages'",
    ),
    case(
        "an argument that cannot be given by name",
        {"type": "Positional", "depth": 1},
        TypeError,
        "Positional takes 'depth' by position only, which no node can give.",
    ),
    case(
        "a class written in C",
        {"type": "complex", "reel": 1},
        TypeError,
        "complex",
    ),
    case(
        "default_args misspelt",
        {"type": "ResNet"},
        TypeError,
        "model: build takes the node and `default_args`, got also depth=18.",
        "To do:         build(cfg, default_args=dict(depth=18))",
        depth=18,
    ),
    case(
        "default_args that are no mapping",
        {"type": "ResNet"},
        TypeError,
        "`default_args` must be a mapping or None, got 18.",
        default_args=18,
    ),
    case(
        "default_args that the component does not take",
        {"type": "ResNet", "depth": 18},
        TypeError,
        "ResNet takes no argument 'device'.",
        default_args={"device": "cpu"},
    ),
    case(
        "a function with a wrong argument",
        {"type": partial(ResNet, depth=18), "widht": 1},
        TypeError,
        "partial(ResNet) takes no argument 'widht'.",
    ),
    case(
        "an instance without a name",
        {"type": "Board"},
        TypeError,
        "Board needs 'name'.",
        "Signature:     Board(name, width=10)",
    ),
    case(
        "an instance with an empty name",
        {"type": "Board", "name": ""},
        (ComponentBuildError, UsageError, TypeError),
        "Board could not be built: UsageError: Board: the name of an instance must be a string",
    ),
    # --- inside the component ---
    case(
        "a value that the component refuses",
        {"type": "ResNet", "depth": 19},
        (ComponentBuildError, KeyError),
        "ResNet could not be built: KeyError: 'no ResNet of depth 19'",
        "Raised in:",
    ),
    case(
        "a file that is not there",
        {"type": "FileReader", "path": "/no/such/file"},
        (ComponentBuildError, FileNotFoundError),
        "FileReader could not be built: FileNotFoundError: [Errno 2] No such file or directory: ",
    ),
    case(
        "a bug in the component",
        {"type": "Wrong"},
        (ComponentBuildError, TypeError),
        "Wrong could not be built: TypeError: unsupported operand type(s) for +",
    ),
    case(
        "a method that is not there",
        {"type": "Abstract"},
        (ComponentBuildError, AttributeError),
        "Abstract could not be built: AttributeError: 'Abstract' object has no attribute",
    ),
    case(
        "a mistake in a node inside",
        {"type": "Detector", "backbone": {"type": "ResNet", "dpeth": 18}},
        TypeError,
        "backbone: ResNet takes no argument 'dpeth' and needs 'depth'.",
    ),
    case(
        "a mistake in a list inside",
        {"type": "Detector", "heads": [{"type": "ResNet", "depth": 18}, {"type": "Hed"}]},
        KeyError,
        "heads.1: no 'Hed' in registry 'model'.",
    ),
    case(
        "a name instead of a node inside",
        {"type": "Detector", "backbone": "ResNet"},
        TypeError,
        "backbone: a node is a mapping with `type`, got str 'ResNet'.",
    ),
    case(
        "a hook in the list of models",
        {"type": "ResNet", "depth": 18},
        KeyError,
        "no 'ResNet' in registry 'hook'.",
        "registry 'model' as 'shop.ResNet'",
        registry="hooks",
    ),
]


@pytest.mark.parametrize(("cfg", "error", "first", "more", "registry", "kwargs"), MISTAKES)
def test_a_mistake_is_answered_in_the_first_line(shop, cfg, error, first, more, registry, kwargs):
    with pytest.raises(RegistryError) as caught, building("model"):
        getattr(shop, registry).build(cfg, **kwargs)
    for expected in error if isinstance(error, tuple) else (error,):
        assert isinstance(caught.value, expected)
    text = str(caught.value)
    is_inside = first.startswith(("backbone: ", "heads.1: "))
    assert text.splitlines()[0].startswith(f"model.{first}" if is_inside else f"model: {first}")
    for line in more:
        assert line in text


def test_there_are_at_least_forty_mistakes_in_the_table():
    assert len(MISTAKES) >= 40


def test_a_mistake_is_answered_the_same_way_after_a_build_that_worked(shop):
    """The quick way of building, for names that were resolved before, fails in the same words."""
    shop.models.build({"type": "ResNet", "depth": 18})
    for _ in range(2):
        with pytest.raises(ComponentArgumentError, match="Did you mean:  'depth'"):
            shop.models.build({"type": "ResNet", "dpeth": 18})
        with pytest.raises(KeyError, match="ResNet could not be built: KeyError"):
            shop.models.build({"type": "ResNet", "depth": 19})
        with pytest.raises(KeyError, match="ResNet could not be built: KeyError"):
            shop.models.build({"type": "ResNet", "depth": 19, "_scope_": "shop"})


def test_the_original_is_the_cause_and_nothing_else_is_in_the_way(shop):
    with pytest.raises(FileNotFoundError) as caught:
        shop.models.build({"type": "FileReader", "path": "/no/such/file"})
    cause = caught.value.__cause__
    assert type(cause) is FileNotFoundError
    assert cause.__context__ is None
    assert (caught.value.errno, caught.value.filename) == (cause.errno, "/no/such/file")


def test_a_message_of_several_lines_is_shown_whole(shop):
    def refuse():
        raise RuntimeError("sizes differ:\n  weight: 3, 4\n  bias: 1, 2")

    with pytest.raises(RuntimeError) as caught:
        shop.models.build({"type": refuse})
    head, *lines = str(caught.value).splitlines()
    assert head.endswith("could not be built: RuntimeError: sizes differ:")
    assert [line.split() for line in lines[1:3]] == [["weight:", "3,", "4"], ["bias:", "1,", "2"]]


def test_an_exception_with_a_constructor_of_its_own_keeps_type_and_data(shop):
    class Refused(Exception):
        def __init__(self, code, reason):
            super().__init__(f"{code}: {reason}")
            self.code = code

    def refuse():
        raise Refused(7, "no")

    with pytest.raises(Refused, match="could not be built: Refused: 7: no") as caught:
        shop.models.build({"type": refuse})
    assert caught.value.code == 7
    assert isinstance(caught.value, ComponentBuildError)


def test_an_exception_that_cannot_be_imitated_is_still_wrapped(shop):
    class Sealed(Exception):
        def __init_subclass__(cls):
            raise TypeError("sealed")

    def refuse():
        raise Sealed("no")

    with pytest.raises(ComponentBuildError, match="could not be built: Sealed: no") as caught:
        shop.models.build({"type": refuse})
    assert isinstance(caught.value.__cause__, Sealed)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_stops_a_program_is_not_wrapped(shop, stop):
    def refuse():
        raise stop

    with pytest.raises(stop) as caught:
        shop.models.build({"type": refuse})
    assert type(caught.value) is stop


def test_a_build_function_of_ones_own_fails_with_the_path_too():
    def build(cfg, registry):
        raise ValueError("not today")

    things = Registry("thing", build_func=build, scope="toy")
    with (
        building("model"),
        pytest.raises(ValueError, match=r"^model: X could not be built: ValueError: not today"),
    ):
        things.build({"type": "X"})


@pytest.mark.parametrize("registry", [MODELS, HOOKS, METRICS, DATA_SAMPLERS], ids=lambda r: r.name)
def test_the_root_registries_answer_in_the_same_words(registry):
    with pytest.raises(UnknownComponentError, match=f"no 'Quuux' in registry '{registry.name}'"):
        build_from_cfg({"type": "Quuux"}, registry)

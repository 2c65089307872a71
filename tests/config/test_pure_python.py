"""Pure Python files: ``read_base``, and imports that import nothing until they are needed."""
# ruff: noqa: C408 (configs are written with dict())

from __future__ import annotations

import copy
import json
import math
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from drivetrain.config import (
    Config,
    ConfigFileNotFoundError,
    ConfigImportError,
    LazyImportError,
    LazyObject,
    MixedStyleError,
    read_base,
)

PACKAGE = """
import sys
sys.dt_zoo_was_imported = True

class Net:
    class Inner:
        pass

def make(n):
    return [n] * n

SIZE = 4
"""


@pytest.fixture
def zoo(write, monkeypatch, tmp_path):
    """A package that tells when it is imported; bases in a folder and its parent."""
    write("site/dt_zoo/__init__.py", PACKAGE)
    write("site/dt_zoo/layers.py", "class Conv: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    write(
        "configs/base.py",
        """
        from dt_zoo import Net, make
        import dt_zoo.layers as L

        def helper(x):
            return x + 1

        model = dict(type=Net, layers=[dict(type=L.Conv)], depth=helper(1))
        optimizer = dict(type='SGD', lr=0.1)
        """,
    )
    write("shared/schedule.py", "max_epochs = 12\n")
    yield write
    for name in [name for name in sys.modules if name.startswith("dt_zoo")]:
        del sys.modules[name]
    sys.__dict__.pop("dt_zoo_was_imported", None)


def is_imported() -> bool:
    return hasattr(sys, "dt_zoo_was_imported")


CHILD = """
from drivetrain.config import read_base
with read_base():
    from .base import *
    from ..shared.schedule import max_epochs as epochs
from dt_zoo import Net as Other
import dt_zoo

model.update(dict(depth=7))
model.layers[0].n = 3
optimizer.merge(dict(lr=1.0, inner=dict(a=1)))
other = dict(type=Other, inner=dt_zoo.Net.Inner)
alias = Net
"""


def test_read_base_need_not_be_imported(write) -> None:
    write("base.py", "a = 1")
    write("top.py", "with read_base():\n    from .base import *\nb = a + 1")

    assert Config.fromfile("top.py") == dict(a=1, b=2)


def test_loading_copying_printing_and_dumping_import_nothing(zoo, tmp_path) -> None:
    zoo("configs/child.py", CHILD)

    cfg = Config.fromfile("configs/child.py")
    again = pickle.loads(pickle.dumps(copy.deepcopy(cfg)))
    for name in ("dump.py", "dump.json", "dump.yaml"):
        again.dump(tmp_path / name)
    repr(cfg), cfg.pretty_text, cfg.to_dict(), cfg.digest(), cfg.origin("model.type")

    assert not is_imported()
    assert again == cfg
    assert Config.fromfile("dump.py") == cfg
    assert Config.fromfile("dump.json") == cfg.to_dict()
    assert not is_imported()


def test_what_the_bases_define_is_inherited_and_helpers_are_no_keys(zoo) -> None:
    zoo("configs/child.py", CHILD)

    cfg = Config.fromfile("configs/child.py")

    assert list(cfg) == ["model", "optimizer", "epochs", "other", "alias"]
    assert cfg.to_dict() == dict(
        model=dict(type="dt_zoo.Net", layers=[dict(type="dt_zoo.layers.Conv", n=3)], depth=7),
        optimizer=dict(type="SGD", lr=1.0, inner=dict(a=1)),
        epochs=12,
        other=dict(type="dt_zoo.Net", inner="dt_zoo.Net.Inner"),
        alias="dt_zoo.Net",
    )


@pytest.mark.parametrize(
    "read",
    [
        lambda node: node.type,
        lambda node: node["type"],
        lambda node: node.get("type"),
        lambda node: node.pop("type"),
        lambda node: dict(node.items())["type"],
        lambda node: next(iter(node.values())),
        lambda node: dict(**node)["type"],
        lambda node: (lambda type, **rest: type)(**node),
    ],
    ids=["attribute", "item", "get", "pop", "items", "values", "unpack", "call"],
)
def test_reading_a_reference_imports_its_target(zoo, read) -> None:
    cfg = Config.fromfile("configs/base.py")

    target = read(cfg.model)

    import dt_zoo

    assert target is dt_zoo.Net


def test_a_base_is_not_changed_by_its_child(zoo) -> None:
    zoo(
        "configs/child.py",
        """
        from drivetrain.config import read_base
        with read_base():
            from .base import optimizer
            from .base import optimizer as second, model
        optimizer.lr = 5
        """,
    )
    cfg = Config.fromfile("configs/child.py")

    assert (cfg.optimizer.lr, cfg.second.lr) == (5, 0.1)
    assert list(cfg) == ["optimizer", "second", "model"]


def test_bases_come_from_modules_folders_and_packages(zoo) -> None:
    zoo("site/dt_zoo/configs/deep/one.py", "one = 1\n")
    zoo(
        "configs/child.py",
        """
        from drivetrain.config import read_base
        with read_base():
            from . import base
            from .. import other
            from dt_zoo.configs.deep.one import *
            import dt_zoo.configs.deep.one as again
        two = again.one + 1
        lr = base.optimizer.lr * 2
        three = other.three
        """,
    )
    zoo("other.py", "three = 3\n")

    assert Config.fromfile("configs/child.py") == dict(one=1, two=2, lr=0.2, three=3)
    assert not is_imported()


def test_functions_and_classes_of_a_base_can_be_used(zoo) -> None:
    zoo(
        "configs/child.py",
        """
        from mmengine.config import read_base
        with read_base():
            from .base import *
        value = helper(2)
        class Local:
            n = 3
        n = Local.n
        """,
    )
    cfg = Config.fromfile("configs/child.py")

    assert (cfg.value, cfg.n) == (3, 3)
    assert "helper" not in cfg
    assert "Local" not in cfg


def test_the_standard_library_is_simply_imported(zoo) -> None:
    zoo(
        "c.py",
        """
        import os.path, math as m, json
        from collections import OrderedDict, defaultdict
        from functools import partial
        from math import pi
        from dt_zoo import Net
        path = os.path.join('a', 'b')
        root = m.sqrt(4)
        words = f'{pi:.2f}'
        ordered = dict(type=OrderedDict, parse=json.loads, floor=m.floor)
        net = dict(type=Net)
        """,
    )
    cfg = Config.fromfile("c.py")
    again = pickle.loads(pickle.dumps(copy.deepcopy(cfg)))

    assert (cfg.path, cfg.root, cfg.words) == ("a/b", 2.0, "3.14")
    assert again == cfg
    assert again.ordered.parse is json.loads
    assert again.ordered.floor is math.floor
    assert Config.fromstring(cfg.pretty_text, "py") == cfg
    assert not is_imported()


def test_what_a_config_computes_with_is_imported_then(zoo) -> None:
    zoo(
        "c.py",
        """
        from dt_zoo import make, SIZE, Net
        values = make(2)
        double = SIZE * 2 + 1
        words = f'{SIZE}'
        listed = [i for i in range(SIZE)]
        class Mine(Net):
            pass
        is_net = issubclass(Mine, Net) and isinstance(Mine(), Net)
        """,
    )
    cfg = Config.fromfile("c.py")

    assert cfg == dict(values=[2, 2], double=9, words="4", listed=[0, 1, 2, 3], is_net=True)


def test_a_reference_is_equal_to_what_it_stands_for(zoo) -> None:
    lazy = LazyObject("dt_zoo", "Net")
    assert lazy == LazyObject("dt_zoo").Net
    assert lazy != LazyObject("dt_zoo", "make")
    assert not is_imported()

    import dt_zoo

    assert lazy == dt_zoo.Net
    assert dt_zoo.Net == lazy
    assert lazy != dt_zoo.make
    assert lazy.build() is dt_zoo.Net
    assert isinstance(lazy(), dt_zoo.Net)


def test_a_reference_that_leads_nowhere_names_its_import(zoo) -> None:
    zoo("c.py", "from dt_zoo import Net, Nett\n\nmodel = dict(type=Nett)")
    zoo("d.py", "import dt_nowhere.layers as L\nmodel = dict(type=L.Conv)")

    with pytest.raises(LazyImportError, match=r"c.py:1: cannot import 'dt_zoo.Nett'"):
        Config.fromfile("c.py").model.type
    with pytest.raises(ImportError, match=r"d.py:1: cannot import 'dt_nowhere.layers.Conv'"):
        Config.fromfile("d.py").model.type


def test_putting_a_reference_into_a_node_makes_it_lazy(zoo) -> None:
    cfg = Config(dict(model=dict(a=1)))

    cfg.model.type = LazyObject("dt_zoo", "Net")

    assert not is_imported()
    assert cfg.model.type.__name__ == "Net"
    assert cfg.model.a == 1


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("c.py", "from .base import *", ConfigImportError, r"c.py:2: relative import of '.base'"),
        ("c.py", "from dt_zoo import *", ConfigImportError, r"c.py:2: `from dt_zoo import \*`"),
        (
            "c.py",
            "with read_base():\n    from .nothing import *",
            ConfigFileNotFoundError,
            r"c.py:3: no config '.nothing'",
        ),
        (
            "c.py",
            "with read_base():\n    from .configs.base import modl",
            ConfigImportError,
            r"c.py:3: .*defines no 'modl'; did you mean 'model'",
        ),
        (
            "c.py",
            "with read_base():\n    from dt_nowhere.base import *",
            ConfigFileNotFoundError,
            r"package 'dt_nowhere' is not installed",
        ),
    ],
)
def test_a_bad_import_is_an_error_with_its_line(zoo, name, text, error, message) -> None:
    zoo(name, "from drivetrain.config import read_base\n" + text)

    with pytest.raises(error, match=message):
        Config.fromfile(name)


def test_mixed_styles_are_a_clear_error(zoo) -> None:
    zoo("text.py", "_base_ = 'configs/base.py'\n")
    zoo("based.py", "_base_ = 'pure.py'\n")
    zoo("both.py", "_base_ = []\nwith read_base():\n    from .text import *\n")
    pure = "from drivetrain.config import read_base\nwith read_base():\n    from .text import *\n"
    zoo("pure.py", pure)

    for name in ("pure.py", "based.py", "both.py"):
        with pytest.raises(MixedStyleError, match="one chain of files has one style"):
            Config.fromfile(name)
    with pytest.raises(MixedStyleError):
        Config.fromfile("pure.py", lazy_import=False)
    with pytest.raises(MixedStyleError):
        Config.fromfile("text.py", lazy_import=True)


def test_the_style_is_seen_from_the_file_or_told(zoo) -> None:
    zoo("c.py", "from dt_zoo import Net\nmodel = dict(type=Net)")

    assert not is_imported()
    assert Config.fromfile("c.py").to_dict() == dict(model=dict(type="dt_zoo.Net"))
    assert not is_imported()
    cfg = Config.fromfile("c.py", lazy_import=False)
    assert is_imported()
    assert cfg.model.type.__name__ == "Net"
    assert Config.fromfile("c.py", lazy_import=True) == cfg


def test_variables_of_the_file_and_the_environment_work_here_too(zoo) -> None:
    zoo("c.py", "from dt_zoo import Net\nroot = '{{$DT_UNSET:/data}}/{{fileBasename}}'\n")

    assert Config.fromfile("c.py") == dict(root="/data/c.py")


def test_loading_leaves_no_module_behind(zoo) -> None:
    zoo("configs/child.py", CHILD)
    before = set(sys.modules)

    Config.fromfile("configs/child.py")

    assert {name for name in set(sys.modules) - before if "base" in name or "zoo" in name} == set()


def test_read_base_outside_of_a_load_does_nothing() -> None:
    with read_base():
        value = 1

    assert value == 1


def test_a_pure_config_is_also_an_ordinary_module(zoo, tmp_path) -> None:
    """An editor resolves its names because plain Python does."""
    zoo("site/dt_zoo/configs/__init__.py", "")
    zoo("site/dt_zoo/configs/base.py", "optimizer = dict(lr=0.1)\n")
    zoo(
        "site/dt_zoo/configs/child.py",
        """
        from drivetrain.config import read_base
        with read_base():
            from .base import *
        optimizer.update(lr=0.2)
        """,
    )
    code = "from dt_zoo.configs.child import optimizer; print(optimizer['lr'])"

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(tmp_path, "site"),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "0.2\n"
    assert Config.fromfile("site/dt_zoo/configs/child.py").optimizer.lr == 0.2


def test_a_lambda_or_another_name_of_an_own_class_is_no_key(tmp_path) -> None:
    (tmp_path / "c.py").write_text(
        "import dt_not_installed\nclass Own: ...\nother = Own\n"
        "double = lambda x: 2 * x\na = double(2)\n",
        encoding="utf-8",
    )
    assert Config.fromfile(tmp_path / "c.py").to_dict() == {"a": 4}


def test_names_that_a_star_import_brings_are_no_keys(write) -> None:
    write("a.py", "from math import *\nfrom os.path import *\nx = floor(pi)\nsep = 2")

    for lazy in (True, False):
        assert Config.fromfile("a.py", lazy_import=lazy) == dict(x=3, sep=2)


def test_a_lazy_reference_may_be_a_key_without_being_imported(write) -> None:
    write(
        "a.py", "from dt_not_there import Net\nrates = {Net: 0.1}\nnested = dict(rates={Net: []})"
    )
    cfg = Config.fromfile("a.py")

    assert Config.fromstring(cfg.dump(), "py") == cfg
    assert cfg.digest() == cfg.copy().digest()


def test_a_lazy_name_that_is_mistyped_offers_the_nearest_one(write) -> None:
    write("a.py", "import dt_none\nfrom drivetrain.config import Confg\n\nt = dict(type=Confg)")

    with pytest.raises(
        LazyImportError, match=r"a.py:2: .*drivetrain.config has no 'Confg'; did you mean 'Config'"
    ):
        Config.fromfile("a.py").t.type


def test_a_lazy_name_whose_module_raises_names_the_config(write, tmp_path, monkeypatch) -> None:
    write("dt_raising.py", "raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(str(tmp_path))
    write("a.py", "from dt_raising import Net\nt = dict(type=Net)")

    with pytest.raises(LazyImportError, match=r"a.py:1: .*RuntimeError: no licence") as caught:
        Config.fromfile("a.py").t.type
    assert isinstance(caught.value.__cause__, RuntimeError)

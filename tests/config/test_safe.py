"""Files of strangers: data is read, a corpus of hostile files is refused without effect."""
# ruff: noqa: C408 (configs are written with dict())

from __future__ import annotations

import os
import sys
import time

import pytest
import yaml  # noqa: F401 (loaded here, so that a test sees what a file alone would load)

from drivetrain.config import Config, ConfigError, ConfigParseError, UnsafeConfigError

# Each hostile Python file: what it tries, its text, and the line that the error must name.
# PWN leaves a file behind if it is ever evaluated.
PWN = "open('pwned', 'w')"
PYTHON = [
    ("import a module", "import os", 1),
    ("call in an annotation", f"a = 1\nb: {PWN} = 1", 2),
    ("a null byte", "a = 1\nb = '\0'", 2),
    ("import from a module", "a = 1\nfrom os import system", 2),
    ("import by its function", "a = __import__('os').system('touch pwned')", 1),
    ("import by importlib", "a = importlib.import_module('os')", 1),
    ("call a builtin", f"a = {PWN}", 1),
    ("call inside a dict", f"b = 1\na = dict(b=[1, {PWN}])", 2),
    ("call as a statement", f"a = 1\n{PWN}", 2),
    ("eval", f'a = eval("{PWN}")', 1),
    ("exec", f'exec("{PWN}")', 1),
    ("compile", "a = compile('1', '', 'eval')", 1),
    ("getattr", "a = getattr(dict, '__subclasses__')", 1),
    ("walk from an empty tuple", "a = ().__class__.__bases__[0].__subclasses__()", 1),
    ("walk from a string", "a = ''.__class__.__mro__", 1),
    ("walk from a number", "a = (1).__class__", 1),
    ("walk from a dict", "b = dict()\na = b.__class__", 2),
    ("walk from a dict by item", "b = dict()\na = b['__class__']['__mro__']", 2),
    ("walk from dict itself", "a = dict.__subclasses__()", 1),
    ("a method of a string", "a = 'x'.upper()", 1),
    ("format reaches attributes", "a = '{0.__class__}'.format(1)", 1),
    ("format_map reaches attributes", "a = '{x}'.format_map(dict(x=1))", 1),
    ("an f-string that calls", f'a = f"{{{PWN}}}"', 1),
    ("an f-string that walks", "a = f'{().__class__}'", 1),
    ("an f-string of great width", "a = f'{1:999999999999}'", 1),
    ("an f-string of computed width", "w = 10 ** 9\na = f'{1:{w}}'", 2),
    ("percent formatting of great width", "a = '%999999999d' % 1", 1),
    ("percent formatting of starred width", "a = '%*d' % (999999999, 1)", 1),
    ("percent formatting of great precision", "a = '%.999999999f' % 1.0", 1),
    ("percent formatting of bytes", "a = b'%9999999999d' % 1", 1),
    ("a giant power", "a = 9 ** 9 ** 9", 1),
    ("a giant power of a negative", "a = (-9) ** 99999999", 1),
    ("a giant negative power", "a = 9 ** -99999999", 1),
    ("a giant shift", "a = 1 << 99999999999", 1),
    ("a giant product", "a = 2 ** 500\nb = a * a * a", 2),
    ("a giant literal", "a = 0x" + "f" * 3000, 1),
    ("a giant string", "a = 'x' * 10 ** 10", 1),
    ("a giant list", "a = [0] * 10 ** 10", 1),
    ("a giant list from the left", "a = 10 ** 10 * [0]", 1),
    ("lists that double", "a = [0] * 9999\nb = [a] * 9999\nc = [b] * 9999", 2),
    ("strings that double", "a = 'x' * 199999\nb = [a] * 99999", 2),
    ("augmented doubling", "a = [0]\n" + "a += a\n" * 60, 19),
    ("a comprehension with effects", f"a = [{PWN} for i in (1,)]", 1),
    ("a generator", "a = (i for i in (1,))", 1),
    ("a dict comprehension", f"a = {{i: {PWN} for i in (1,)}}", 1),
    ("a lambda", f"a = lambda: {PWN}", 1),
    ("a called lambda", f"a = (lambda: {PWN})()", 1),
    ("a function", f"def f():\n    {PWN}", 1),
    ("a decorator", f"@{PWN}\ndef f(): pass", 2),
    ("a class", "class A: pass", 1),
    ("a metaclass", "class A(metaclass=print): pass", 1),
    ("a loop", "while True: pass", 1),
    ("a for loop", "for i in [1]: a = i", 1),
    ("a condition", f"if {PWN}: a = 1", 1),
    ("a conditional expression", f"a = {PWN} if 1 else 2", 1),
    ("much work in many lines", "a = [0] * 99999\n" * 100, 11),
    ("a template without end", "a = '{{$A:" + " " * 300_000 + "\n'", 1),
    ("a walrus", "a = (b := 1)", 1),
    ("a with", f"with {PWN}: pass", 1),
    ("read_base", "with read_base():\n    from .base import *", 1),
    ("a try", "try: pass\nexcept Exception: pass", 1),
    ("an assertion", f"assert {PWN}", 1),
    ("a raise", "raise SystemExit", 1),
    ("a deletion", "a = 1\ndel a", 2),
    ("a global", "global a", 1),
    ("a match", "match 1:\n    case _: pass", 1),
    ("a yield", "a = (yield)", 1),
    ("an await", "a = await b", 1),
    ("a private name", "__builtins__ = dict()", 1),
    ("the name of a builtin", "a = print", 1),
    ("builtins by globals", "a = globals()", 1),
    ("a type of a type", "a = type('A', (), dict())", 1),
    ("a renamed call", "a = dict\nb = a()", 1),
    ("a shadowed call", "dict = [1]\na = dict(b=1)", 2),
    ("a call of an item", "a = [1]\nb = a[0]()", 2),
    ("unpacking of a string", "a = [*'abc']", 1),
    ("an endless structure", "a = [1]\na[0] = a", 2),
    ("an endless structure by attribute", "a = dict()\na.b = dict(c=a)", 2),
    ("very deep nesting", "a = " + "[" * 150 + "]" * 150, 1),
    ("very deep nesting in steps", "a = [1]\n" + "a = [a]\n" * 100, 61),
    ("matrix multiplication", "a = 1 @ 2", 1),
    ("ellipsis arithmetic", "a = ... + 1", 1),
    ("a division by zero", "a = 1 / 0", 1),
    ("a float overflow", "a = 10.0 ** 999", 1),
    ("an environment variable", "a = '{{$PATH:}}'", 1),
    ("an environment variable with default", "b = 1\na = {{'$DT_SECRET:1'}}", 2),
    ("a base above the root", "_base_ = '../outside.py'", 1),
    ("a base by its absolute path", "_base_ = '/etc/passwd.py'", 1),
    ("a base in the home folder", "_base_ = '~/x.py'", 1),
    ("a base in a package", "_base_ = 'json::tool.py'", 1),
    ("a base behind a link", "a = 1\n_base_ = ['link.py']", 2),
    ("a base in a linked folder", "_base_ = 'linked/outside.py'", 1),
    ("a base that is a pipe", "_base_ = 'pipe.py'", 1),
    ("a base that is a device", "_base_ = 'zero.py'", 1),
    ("a base that inherits from itself", "_base_ = 'c.py'", 1),
    ("bases without end", "_base_ = ['many_0.py', 'many_0.py']", 1),
    ("an attribute of the bases", "_base_ = 'base.py'\na = _base_.__class__", 2),
    ("an item of the bases", "_base_ = 'base.py'\na = _base_['__class__']", 2),
    ("a method of the bases", "_base_ = 'base.py'\na = _base_.get('x')", 2),
    ("an attribute of a base value", "_base_ = 'base.py'\na = _base_.x.keys()", 2),
    ("insides of the bases", "_base_ = 'base.py'\na = _base_._BaseView__data", 2),
    ("a template with code", "a = {{_base_.x.__class__}}", 1),
    ("a call of what fills templates", "a = __base_value__(open)", 1),
]
DATA = [
    (
        "a tag for an object",
        "y.yaml",
        "a: 1\nb: !!python/object/apply:os.abort []",
        2,
    ),
    ("a tag for a name", "y.yaml", "a: !!python/name:os.system", 1),
    ("a tag for a module", "y.yaml", "a: !!python/module:os", 1),
    ("a tag of its own", "y.yaml", "a: !mine {x: 1}", 1),
    (
        "a billion laughs",
        "y.yaml",
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{new}: &{new} [" + ", ".join([f"*{old}"] * 9) + "]\n"
            for old, new in zip("abcdefghi", "bcdefghij", strict=True)
        ),
        4,
    ),
    (
        "merge keys without end",
        "y.yaml",
        "a: &a {x: 1}\n"
        + "".join(
            f"{new}: &{new}\n  <<: [" + ", ".join([f"*{old}"] * 9) + "]\n"
            for old, new in zip("abcdef", "bcdefg", strict=True)
        ),
        7,
    ),
    ("an alias to itself", "y.yaml", "a: &a [*a]", 1),
    ("deep flow", "y.yaml", "a: " + "[" * 500, 1),
    ("deep blocks", "y.yaml", "".join("  " * i + "a:\n" for i in range(200)), 61),
    ("a base outside", "y.yaml", "b: 1\n_base_: ../outside.py", 2),
    ("an environment variable", "y.yaml", "b: 1\na: '{{$DT_SECRET:1}}'", 2),
    ("deep JSON", "y.json", '{"a": ' + "[" * 100_000, 1),
    ("an endless number", "y.json", '{"a": ' + "9" * 100_000 + "}", 1),
    ("a base outside, in JSON", "y.json", '{\n"_base_": "../outside.py"}', 2),
    ("an environment variable, in JSON", "y.json", '{\n"a": "{{$DT_SECRET:1}}"}', 2),
]


@pytest.fixture
def den(write, tmp_path, monkeypatch):
    """A folder with a file outside, links to it, and things that are no files."""
    monkeypatch.setenv("DT_SECRET", "secret")
    write("outside.py", "secret = 1")
    write("den/base.py", "x = dict(y=1)")
    for level in range(30):
        nxt = f"many_{level + 1}.py"
        write(f"den/many_{level}.py", f"_base_ = ['{nxt}', '{nxt}']" if level < 29 else "")
    (tmp_path / "den/link.py").symlink_to(tmp_path / "outside.py")
    (tmp_path / "den/linked").symlink_to(tmp_path)
    (tmp_path / "den/zero.py").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "den/pipe.py")
    monkeypatch.chdir(tmp_path / "den")
    return lambda name, text: write(f"den/{name}", text)


def load_hostile(name: str) -> ConfigError:
    before = (set(sys.modules), list(sys.path), dict(os.environ))
    started_s = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        Config.fromfile(name, safe=True)
    assert time.perf_counter() - started_s < 5
    assert not os.path.exists("pwned")
    assert (set(sys.modules), list(sys.path), dict(os.environ)) == before
    return caught.value


@pytest.mark.parametrize(("text", "line"), [p[1:] for p in PYTHON], ids=[p[0] for p in PYTHON])
def test_a_hostile_python_file_is_refused_at_its_line(den, text, line) -> None:
    den("c.py", text)

    error = load_hostile("c.py")

    assert isinstance(error, (UnsafeConfigError, ConfigParseError, KeyError, RecursionError))
    assert error.lineno == line or "nested too deeply" in str(error)
    assert os.path.basename(error.filename or "") in ("c.py", "many_28.py")


@pytest.mark.parametrize(("name", "text", "line"), [p[1:] for p in DATA], ids=[p[0] for p in DATA])
def test_a_hostile_data_file_is_refused_at_its_line(den, name, text, line) -> None:
    den(name, text)

    error = load_hostile(name)

    assert isinstance(error, (UnsafeConfigError, ConfigParseError))
    assert error.lineno == line


def test_the_corpus_is_large_enough() -> None:
    assert len(PYTHON) + len(DATA) >= 40


def test_a_large_file_is_not_read(den) -> None:
    den("c.py", "a = 1\n" * 200_000)

    with pytest.raises(UnsafeConfigError, match=r"c.py:1: .*larger than"):
        Config.fromfile("c.py", safe=True)


def test_many_names_for_one_large_value_are_refused(den) -> None:
    den("c.py", "a = [0] * 100000\n" + "".join(f"a{i} = a\n" for i in range(1000)))

    with pytest.raises(UnsafeConfigError, match=r"c.py:\d+: .*more than"):
        Config.fromfile("c.py", safe=True)


def test_custom_imports_are_refused_or_read_as_data(den) -> None:
    den("c.py", "custom_imports = dict(imports=['os'])")

    with pytest.raises(UnsafeConfigError, match="`custom_imports` would run code"):
        Config.fromfile("c.py", safe=True)
    cfg = Config.fromfile("c.py", safe=True, import_custom_modules=False)
    assert cfg.custom_imports.imports == ["os"]


def test_a_config_of_data_is_read_as_when_it_runs(den) -> None:
    den(
        "c.py",
        """
        '''What a config of data may say.'''
        _base_ = ['./base.py']
        lr = 0.01 * 2 ** -1
        name: str = f'run_{lr:.3f}_{_base_.x.y!r}' + '%s-%d' % ('a', 3)
        where = './{{fileBasenameNoExtension}}/{{_base_.x.y}}'
        first = [1, 2.5, -3, True, None, 'x', b'y', ...]
        both = [*first, *(4, 5)]
        sliced = both[1:3]
        model = dict(type='R', depth=50, **{'a b': 1}, inner=dict(dict(p=1), q={1, 2}))
        model['depth'] += 1
        model['inner']['p'] = 7
        copied = {**model['inner'], 'z': list(), 'w': tuple([1])}
        x = dict(z={{_base_.x}})
        infinite = float('inf')
        """,
    )
    safe, run = Config.fromfile("c.py", safe=True), Config.fromfile("c.py")

    assert safe == run
    assert safe.name == "run_0.005_1a-3"
    assert safe.where == "./c/1"
    assert safe.model == {
        "type": "R",
        "depth": 51,
        "a b": 1,
        "inner": {"p": 7, "q": {1, 2}},
    }
    assert safe.x == dict(y=1, z=dict(y=1))
    assert safe.origin("model.inner.p")[0].lineno == 11


def test_a_dumped_config_is_safe_to_read(den) -> None:
    cfg = Config(dict(a=dict(b=[1, (2, 3)], c={"x y": None}), d=float("-inf"), e={1, 2}, f=set()))

    for name in ("dump.py", "dump.yaml", "dump.json"):
        if name != "dump.py":
            cfg = Config(dict(a=dict(b=[1, [2, 3]], c={"x y": None})))
        cfg.dump(name)
        assert Config.fromfile(name, safe=True) == cfg


def test_the_root_can_be_wider_than_the_folder(den, tmp_path) -> None:
    den("c.py", "_base_ = '../outside.py'")

    assert Config.fromfile("c.py", safe=True, safe_root=tmp_path) == dict(secret=1)


def test_yaml_anchors_in_reason_are_fine(den) -> None:
    den("c.yaml", "a: &a {x: 1}\nb: *a\nc:\n  <<: *a\n  y: 2\n")

    assert Config.fromfile("c.yaml", safe=True) == dict(a=dict(x=1), b=dict(x=1), c=dict(x=1, y=2))

"""What the package shows, what it costs to import, and how its errors behave."""

from __future__ import annotations

import doctest
import importlib
import pickle
import pkgutil
import subprocess
import sys

import pytest

import drivetrain.config
from drivetrain.config import _errors


def test_all_names_what_the_package_exposes() -> None:
    names = drivetrain.config.__all__
    modules = {module.name for module in pkgutil.iter_modules(drivetrain.config.__path__)}

    assert names == sorted(names)
    assert all(getattr(drivetrain.config, name) is not None for name in names)
    shown = {name for name in vars(drivetrain.config) if not name.startswith("_")}
    assert shown - modules <= {*names, "TYPE_CHECKING", "Any", "annotations", "importlib"}


def test_an_unknown_name_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Confg'"):
        drivetrain.config.Confg


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys; import drivetrain.config; "
        "heavy = {'torch', 'numpy', 'yaml', 'argparse', 'difflib', 'inspect', 'pathlib',"
        " 'drivetrain.registry', 'drivetrain.fileio'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; " + code],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[]"


def test_the_package_works_without_torch_and_numpy(write, tmp_path) -> None:
    write("c.py", "from torch.optim import SGD\nopt = dict(type=SGD, lr=[1, 2])\n")
    code = (
        "import sys\n"
        "for name in ('torch', 'numpy', 'drivetrain.registry'): sys.modules[name] = None\n"
        "from drivetrain.config import Config\n"
        "cfg = Config.fromfile('c.py')\n"
        "cfg.dump('d.py'); cfg.dump('d.yaml'); cfg.dump('d.json'); cfg.digest(); repr(cfg)\n"
        "assert Config.fromfile('d.py') == cfg\n"
        "assert Config.fromfile('d.yaml').opt == dict(type='torch.optim.SGD', lr=[1, 2])\n"
    )

    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


ERRORS = [
    value
    for value in vars(_errors).values()
    if isinstance(value, type)
    and issubclass(value, _errors.ConfigError)
    and not value.__name__.startswith("_")
]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_is_a_builtin_too_pickles_and_shows_its_place(kind) -> None:
    if kind is not _errors.ConfigError:
        builtins_of = [base for base in kind.__mro__ if base.__module__ == "builtins"]
        assert set(builtins_of) - {Exception, BaseException, object}
        assert kind.__name__ in drivetrain.config.__all__
        assert kind.__name__ in (_errors.__doc__ or "")
    if kind is _errors.MissingKeyError:
        error = kind("a", ["ab"])
    elif kind is _errors.UnknownKeyError:
        error = kind("line one\nline two", path="a")
    else:
        error = kind("line one\nline two", filename="c.py", lineno=3)

    again = pickle.loads(pickle.dumps(error))

    assert str(again) == str(error)
    assert type(again) is kind
    assert again.filename == error.filename
    if error.filename:
        assert str(error) == "c.py:3: line one\nline two"


@pytest.mark.parametrize(
    "name",
    [f"drivetrain.config.{m.name}" for m in pkgutil.iter_modules(drivetrain.config.__path__)],
)
def test_examples_in_docstrings_run(name) -> None:
    if name.endswith("__main__"):
        return

    result = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE
    )

    assert result.failed == 0

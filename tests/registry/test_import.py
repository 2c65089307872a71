"""What importing the package brings, and what it exports."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import types

import pytest

import drivetrain.registry
from drivetrain.registry import Registry

# Slow to import, and not needed to register and build.
LAZY = [
    "typing",
    "inspect",
    "difflib",
    "importlib.metadata",
    "traceback",
    "json",
    "argparse",
    "logging",
]
FOREIGN = ["torch", "numpy", "yaml", "drivetrain.config", "drivetrain.runner"]


def modules_after(statement):
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            _with_path(f"{statement}; print(json.dumps(list(sys.modules)))"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout))


def _with_path(statement):
    # Without `site`, which may import more than we do: only where this package is.
    folder = drivetrain.registry.__path__[0].rpartition("drivetrain")[0]
    return f"import sys; sys.path.insert(0, {folder!r}); {statement}".replace(
        "print(json", "import json; print(json"
    )


def test_importing_it_imports_nothing_heavy():
    loaded = modules_after("import drivetrain.registry") - {"json"}
    assert not loaded & set(LAZY)
    assert not loaded & set(FOREIGN)


def test_building_imports_nothing_heavy_either():
    loaded = modules_after(
        "from drivetrain.registry import Registry; r = Registry('x', scope='y'); "
        "r.register_module(module=dict); r.build({'type': 'dict', 'a': 1})"
    )
    assert not (loaded - {"json"}) & {*LAZY, *FOREIGN}


def test_checking_listing_and_failing_imports_no_other_package():
    loaded = modules_after(
        "from drivetrain.registry import MODELS, check; import drivetrain.registry.listing as l; "
        "check({'a': {'type': 'X'}}, MODELS); l.list_components()"
    )
    assert not loaded & set(FOREIGN)


def cpu_seconds(statement):
    """CPU time of a new interpreter: other work on the machine does not count."""
    resource = pytest.importorskip("resource")  # not on Windows
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # An installed package has its byte code beside it; so has this one, after the first start.
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run([sys.executable, "-c", statement], capture_output=True, check=True, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_import_takes_at_most_20_ms_over_bare_python():
    rounds = [(cpu_seconds("pass"), cpu_seconds("import drivetrain.registry")) for _ in range(9)]
    # The quickest of each: noise only ever adds time.
    cost_s = min(with_it for _, with_it in rounds) - min(bare for bare, _ in rounds)
    assert cost_s < 0.020, f"{cost_s * 1e3:.1f} ms"


def test_all_is_what_the_package_exposes():
    exposed = {
        name
        for name, value in vars(drivetrain.registry).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    on_demand = {*drivetrain.registry._ON_DEMAND}
    assert {*drivetrain.registry.__all__} == {*exposed, *on_demand, "__version__"}
    assert len(set(drivetrain.registry.__all__)) == len(drivetrain.registry.__all__)


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("RUNNERS", "runner"),
        ("RUNNER_CONSTRUCTORS", "runner_constructor"),
        ("LOOPS", "loop"),
        ("HOOKS", "hook"),
        ("STRATEGIES", "strategy"),
        ("LOG_PROCESSORS", "log_processor"),
        ("OPTIMIZERS", "optimizer"),
        ("OPTIM_WRAPPERS", "optim_wrapper"),
        ("OPTIM_WRAPPER_CONSTRUCTORS", "optim_wrapper_constructor"),
        ("PARAM_SCHEDULERS", "param_scheduler"),
        ("DATASETS", "dataset"),
        ("DATA_SAMPLERS", "data_sampler"),
        ("TRANSFORMS", "transform"),
        ("MODELS", "model"),
        ("MODEL_WRAPPERS", "model_wrapper"),
        ("WEIGHT_INITIALIZERS", "weight_initializer"),
        ("TASK_UTILS", "task_util"),
        ("METRICS", "metric"),
        ("EVALUATOR", "evaluator"),
        ("VISUALIZERS", "visualizer"),
        ("VISBACKENDS", "vis_backend"),
        ("INFERENCERS", "inferencer"),
        ("FUNCTIONS", "function"),
    ],
)
def test_the_root_registries_have_their_names_and_scope(variable, name):
    registry = getattr(drivetrain.registry, variable)
    assert isinstance(registry, Registry)
    assert (registry.name, registry.scope, registry.parent) == (name, "drivetrain", None)


def modules():
    yield "drivetrain.registry"
    for module in pkgutil.iter_modules(drivetrain.registry.__path__, "drivetrain.registry."):
        if not module.name.endswith("__main__"):
            yield module.name


@pytest.mark.parametrize("name", list(modules()))
def test_the_examples_in_docstrings_run(name):
    module = importlib.import_module(name)
    names = {**vars(drivetrain.registry), **vars(module)}
    failed, _ = doctest.testmod(module, extraglobs=names)
    assert failed == 0

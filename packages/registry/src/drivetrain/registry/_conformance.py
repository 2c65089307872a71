"""Whether a distribution keeps the contract (CONTRACT.md), seen from its own tests."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from drivetrain.registry._discovery import Provider, announced, shared_package
from drivetrain.registry._explain import one_line, shown_traceback
from drivetrain.registry._live import live_registries
from drivetrain.registry._registry import Registry
from drivetrain.registry._scope import canonical_scope

_RESERVED = ("type", "_scope_")

# Run in an interpreter of its own: what a module needs, it must import itself.
_PROBE = """
import importlib, json, sys
from drivetrain.registry._live import live_registries
def names():
    return {(r.root.name, r.scope, n) for r in live_registries() for n in r.module_dict}
before = names()
importlib.import_module(sys.argv[1])
print("\\n" + json.dumps(sorted(names() - before)))
"""


class Finding(NamedTuple):
    """One rule of the contract that is not kept.

    Attributes:
        subject: The announcement, or the component.
        rule: ``"announce"``, ``"import"``, ``"register"``, ``"signature"``, ``"doctest"`` or
            ``"example"``.
        message: What is wrong.
    """

    subject: str
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.rule}: {self.message}"


def conformance_findings(
    distribution: str,
    *,
    examples: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
    doctests: bool = True,
) -> list[Finding]:
    """Check everything that a distribution announces against the contract.

    Each announced module is imported in an interpreter of its own, and in this one; its components
    must have signatures that can be read; the examples of their docstrings are run.

    Args:
        distribution: Name of an installed distribution.
        examples: Nodes that must build: name of the registry to nodes.
        doctests: Run the examples in the docstrings of the components.

    Returns:
        What is wrong; an empty list if nothing is.
    """
    providers = [p for p in announced() if _same_name(p.distribution, distribution)]
    if not providers:
        text = 'no entry points in group "drivetrain.components" (is it installed?)'
        return [Finding(distribution, "announce", text)]
    findings: list[Finding] = []
    for provider in providers:
        findings += _check_provider(provider, doctests)
    for name, nodes in (examples or {}).items():
        findings += _check_examples(name, nodes)
    return findings


def assert_conformance(
    distribution: str,
    *,
    examples: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
    doctests: bool = True,
) -> None:
    """Fail a test if a distribution does not keep the contract; see ``conformance_findings``.

    Raises:
        AssertionError: With everything that is wrong.

    Example::

        def test_we_keep_the_contract():
            assert_conformance("my-project", examples={"model": [{"type": "my.Net", "depth": 18}]})
    """
    findings = conformance_findings(distribution, examples=examples, doctests=doctests)
    if findings:
        lines = "\n".join(f"- {finding}" for finding in findings)
        raise AssertionError(f"{distribution} does not keep the contract:\n{lines}")


def _same_name(one: str | None, other: str) -> bool:
    return one is not None and _normalized(one) == _normalized(other)


def _normalized(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _check_provider(provider: Provider, doctests: bool) -> list[Finding]:
    entry = f"{provider.scope}.{provider.registry}"
    if not provider.scope or not provider.registry:
        text = "the entry point's name must be <scope>.<registry>"
        return [Finding(entry, "announce", text)]
    names, failure = _probe(provider)
    if failure is not None:
        return [Finding(entry, "import", failure)]
    provider.load()
    if provider.error is not None:
        return [Finding(entry, "import", shown_traceback(provider.error))]
    registry = _registry_for(provider)
    if registry is None:
        text = f"there is no registry {provider.registry!r} of scope {provider.scope!r}"
        return [Finding(entry, "announce", text)]
    if not names:
        text = f"importing {provider.module} registers nothing in it"
        return [Finding(entry, "register", text)]
    findings: list[Finding] = []
    for name in names:
        component = registry.module_dict.get(name)
        if component is None:
            continue
        # The docstrings of others (torch's optimizers, say) are not this distribution's promise.
        is_own = shared_package(getattr(component, "__module__", "") or "", provider.module)
        findings += _check_component(f"{entry}: {name}", component, doctests and bool(is_own))
    return findings


def _probe(provider: Provider) -> tuple[list[str], str | None]:
    """Names that the module registers for its entry point, or why it cannot be imported."""
    # The path of this interpreter: tests put folders on it.
    source = f"import sys; sys.path[:] = {sys.path!r}\n{_PROBE}"
    done = subprocess.run(
        [sys.executable, "-c", source, provider.module], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return [], f"alone, in a new interpreter:\n{done.stderr.strip()}"
    rows = json.loads(done.stdout.strip().splitlines()[-1])
    wanted = (provider.registry, provider.scope)
    return [name for reg, scope, name in rows if (reg, canonical_scope(scope)) == wanted], None


def _registry_for(provider: Provider) -> Registry[Any] | None:
    for registry in live_registries():
        names = (registry.name, registry.root.name)
        if canonical_scope(registry.scope) == provider.scope and provider.registry in names:
            return registry
    return None


def _check_component(subject: str, component: Any, doctests: bool) -> list[Finding]:
    findings = []
    try:
        parameters = inspect.signature(component).parameters.values()
    except (TypeError, ValueError) as err:
        return [Finding(subject, "signature", f"cannot be read: {err}")]
    for parameter in parameters:
        if parameter.name in _RESERVED:
            text = f"the parameter {parameter.name!r} cannot be given by a node"
            findings.append(Finding(subject, "signature", text))
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY and (
            parameter.default is inspect.Parameter.empty
        ):
            text = f"the parameter {parameter.name!r} cannot be given by its name"
            findings.append(Finding(subject, "signature", text))
    if doctests:
        findings += _run_doctests(subject, component)
    return findings


def _run_doctests(subject: str, component: Any) -> list[Finding]:
    import doctest  # brings pdb and unittest: only for those who run examples

    module = sys.modules.get(getattr(component, "__module__", ""))
    finder = doctest.DocTestFinder(recurse=False)
    runner = doctest.DocTestRunner(verbose=False)
    output: list[str] = []
    names = dict(vars(module)) if module else {}
    try:
        for test in finder.find(component, subject, module, globs=names):
            runner.run(test, out=output.append)
    except ValueError as err:  # the docstring is malformed
        output.append(str(err))
    return [Finding(subject, "doctest", "".join(output).strip())] if output else []


def _check_examples(name: str, nodes: Iterable[Mapping[str, Any]]) -> list[Finding]:
    roots = [r for r in live_registries() if r.parent is None and r.name == name]
    if not roots:
        return [Finding(name, "example", "there is no root registry of that name")]
    findings = []
    for node in nodes:
        try:
            roots[0].build(node)
        except Exception as err:  # whatever a component raises
            findings.append(Finding(f"{name}: {node.get('type')!r}", "example", one_line(err)))
    return findings

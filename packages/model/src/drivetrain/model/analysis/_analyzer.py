"""Run a model once, and count what happens, operation by operation and module by module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from drivetrain.model._errors import nearest
from drivetrain.model.analysis._errors import AnalysisError
from drivetrain.model.analysis._formulas import (
    FREE,
    Formula,
    activation_formula,
    flop_formula,
    label_of,
)


class _Recorder(TorchDispatchMode):
    """Counts each operation for the module whose ``forward`` is running."""

    def __init__(self, analyzer: CostAnalyzer, names: dict[nn.Module, str]) -> None:
        super().__init__()
        self._analyzer = analyzer
        self._names = names
        self._running: list[nn.Module] = []
        self.costs: dict[str, Counter[str]] = {name: Counter() for name in names.values()}
        self.uncounted: dict[str, Counter[str]] = {name: Counter() for name in names.values()}
        self.called: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        module = self._running[-1] if self._running else next(iter(self._names))
        operation = func.overloadpacket
        formula = self._analyzer.formula(operation)
        name, owner = operation.__name__, self._names[module]
        if formula is not None:
            self.costs[owner].update({label_of(name, module): formula(args, kwargs, out)})  # type: ignore[dict-item]  # costs may be fractions
        elif not func.is_view and name not in FREE:
            self.uncounted[owner][name] += 1
        return out

    def enter(self, module: nn.Module, args: Any) -> None:
        self._running.append(module)
        self.called.add(self._names[module])

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._running.pop()


class CostAnalyzer(ABC):
    """Counts a cost of one forward pass. The pass runs when the first number is asked for.

    The model stays as it was: its buffers and the random state are restored, its mode is kept. A
    module's number includes those of the modules inside.

    Args:
        model: The model.
        inputs: A tensor, or a tuple or list of the positional arguments, or a dict of the others.

    Raises:
        AnalysisError: If the model fails on the inputs, or an unknown module is asked for.
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        self.model = model
        self.inputs = inputs
        self._handles: dict[str, Formula | None] = {}
        self._record: _Recorder | None = None
        self._names = {module: name for name, module in model.named_modules()}

    @abstractmethod
    def default_formula(self, operation: Any) -> Formula | None:
        """Return how to count an operation of torch; ``None``: not at all."""

    def formula(self, operation: Any) -> Formula | None:
        """Return how an operation is counted here."""
        name = operation.__name__
        return self._handles[name] if name in self._handles else self.default_formula(operation)

    def set_op_handle(self, operation: str, formula: Formula | None) -> CostAnalyzer:
        """Count an operation in a way of one's own, from its arguments and its output.

        Args:
            operation: Name in ``torch.ops.aten``, such as ``'_softmax'``, or with ``aten::``.
            formula: Called with arguments, keyword arguments and output; ``None``: do not count.

        Returns:
            Itself.
        """
        self._handles[operation.removeprefix("aten::")] = formula
        self._record = None
        return self

    def total(self, module_name: str = "") -> float:
        """Return the cost of a module, by default of the whole model."""
        return sum(self.by_operator(module_name).values())

    def by_operator(self, module_name: str = "") -> Counter[str]:
        """Return the cost of a module by kind of operation.

        Args:
            module_name: As in ``named_modules``; the whole model by default.

        Raises:
            AnalysisError: If the model has no such module, or fails on the inputs.
        """
        return self._gather(self._recorded().costs, module_name)

    def by_module(self) -> Counter[str]:
        """Return the cost of each module by name; the whole model is ``''``."""
        return Counter({name: self.total(name) for name in self._names.values()})

    def by_module_and_operator(self) -> dict[str, Counter[str]]:
        """Return the cost of each module by kind of operation."""
        return {name: self.by_operator(name) for name in self._names.values()}

    def unsupported_ops(self, module_name: str = "") -> Counter[str]:
        """Return how often a module used operations that are not counted, such as sums.

        Args:
            module_name: As in ``named_modules``; the whole model by default.

        Raises:
            AnalysisError: If the model has no such module, or fails on the inputs.
        """
        return self._gather(self._recorded().uncounted, module_name)

    def uncalled_modules(self) -> set[str]:
        """Return the modules whose ``forward`` did not run."""
        return set(self._names.values()) - self._recorded().called

    def _gather(self, table: Mapping[str, Counter[str]], module_name: str) -> Counter[str]:
        if module_name not in table:
            raise AnalysisError(
                f"{type(self).__name__}: {type(self.model).__name__} has no module "
                f"{module_name!r}.{nearest(module_name, table)}"
            )
        gathered: Counter[str] = Counter()
        prefix = f"{module_name}." if module_name else ""
        for name, counts in table.items():
            if name == module_name or name.startswith(prefix):
                gathered.update(counts)
        return gathered

    def _recorded(self) -> _Recorder:
        if self._record is None:
            self._record = self._run()
        return self._record

    def _run(self) -> _Recorder:
        recorder = _Recorder(self, self._names)
        hooks = [
            hook
            for module in self._names
            for hook in (
                module.register_forward_pre_hook(recorder.enter),
                module.register_forward_hook(recorder.leave, always_call=True),
            )
        ]
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        try:
            with torch.random.fork_rng(), torch.no_grad(), _without_fused_attention(), recorder:
                _call(self.model, self.inputs)
        except Exception as err:
            raise AnalysisError(
                f"{type(self).__name__}: {type(self.model).__name__} failed on "
                f"{_shapes(self.inputs)}: {type(err).__name__}: {err}"
            ) from err
        finally:
            for hook in hooks:
                hook.remove()
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
        return recorder


class FlopAnalyzer(CostAnalyzer):
    """Counts operations; a multiplication with its addition is one.

    Example:
        >>> FlopAnalyzer(nn.Conv2d(3, 10, 3), torch.zeros(1, 3, 10, 10)).total()
        17280
    """

    def default_formula(self, operation: Any) -> Formula | None:
        """Return how to count an operation of torch; ``None``: not at all."""
        return flop_formula(operation)


class ActivationAnalyzer(CostAnalyzer):
    """Counts the values that convolutions, matrix products and attention put out.

    Example:
        >>> ActivationAnalyzer(nn.Conv2d(3, 10, 3), torch.zeros(1, 3, 10, 10)).total()
        640
    """

    def default_formula(self, operation: Any) -> Formula | None:
        """Return how to count an operation of torch; ``None``: not at all."""
        return activation_formula(operation)


@contextmanager
def _without_fused_attention() -> Iterator[None]:
    """Let ``nn.MultiheadAttention`` in eval mode run as the operations that formulas know."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _call(model: nn.Module, inputs: Any) -> None:
    if isinstance(inputs, Mapping):
        model(**inputs)
    elif isinstance(inputs, tuple | list):
        model(*inputs)
    else:
        model(inputs)


def _shapes(inputs: Any) -> str:
    if isinstance(inputs, Tensor):
        return f"a tensor of shape {tuple(inputs.shape)}"
    values = list(inputs.values()) if isinstance(inputs, Mapping) else inputs
    if isinstance(values, tuple | list):
        return "(" + ", ".join(_shapes(value) for value in values) + ")"
    return repr(inputs)

"""Finding where a value that is not finite comes from, by running one step again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_MAX_SHOWN = 5


@dataclass(frozen=True)
class NonFiniteSource:
    """Where the first value of a step that is not finite was found.

    Attributes:
        module: Name of the first module inside the model that produced one, or None where the
            outputs of all of them are finite.
        kind: Class of that module.
        loss: The loss of the step; None if it was not reached.
        text: What was found, in sentences.
    """

    module: str | None
    kind: str | None
    loss: float | None
    text: str

    @property
    def is_finite(self) -> bool:
        """Whether nothing was found: the step, run again, gives finite numbers."""
        return not self.text


def find_source(
    model: nn.Module,
    data_batch: Any,
    contexts: Any,
    *,
    gradients: bool = False,
) -> NonFiniteSource:
    """Run ``model.train_step`` on a batch, without any update, and look at what each module gives.

    Args:
        model: The model, not wrapped.
        data_batch: What the loader gave.
        contexts: The optimizer wrapper, or what stands in for it: its ``optim_context`` decides on
            the precision.
        gradients: Run backward too, and look at the gradients.

    Returns:
        The source. Gradients of the model are cleared where ``gradients``.
    """
    lines = [*_in_batch(data_batch), *_in_weights(model)]
    probe = _Probe(contexts, backward=gradients)
    # A compiled model does not call the hooks of its modules.
    with torch.compiler.set_stance("force_eager"), _watched(model, gradients) as seen:
        model.train_step(data_batch, optim_wrapper=probe)  # type: ignore[operator]  # the engine has asked for it
    losses = [float(loss) for loss in probe.losses]
    bad = [loss for loss in losses if loss != loss or loss in (float("inf"), float("-inf"))]
    if seen.first is not None:
        name, kind, text = seen.first
        lines.insert(0, f"First module with an output that is not finite: {text}")
    elif bad:
        name = kind = None
        lines.insert(
            0,
            "The outputs of all modules are finite, the loss made from them is not: look at "
            f"{type(model).__name__}.forward(mode='loss').",
        )
    else:
        name = kind = None
    if gradients:
        lines += seen.backward_lines(model)
        for parameter in model.parameters():
            parameter.grad = None
    loss = (bad or losses or [None])[0]
    return NonFiniteSource(name, kind, loss, "\n".join(lines))


class _Probe:
    """Stands in for an optimizer wrapper, or several: gives its contexts, takes losses, updates
    nothing.
    """

    def __init__(self, wrapper: Any, *, backward: bool, losses: list[Tensor] | None = None) -> None:
        self._wrapper = wrapper
        self._backward = backward
        self.losses: list[Tensor] = [] if losses is None else losses

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """The precision of the training."""
        return self._wrapper.optim_context(model)

    def update_params(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Keep the loss."""
        self.losses.append(loss.detach())
        if self._backward:
            loss.backward()

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Keep the loss."""
        self.update_params(loss)

    def step(self, **kwargs: Any) -> None:
        """Update nothing."""

    def zero_grad(self, **kwargs: Any) -> None:
        """Clear nothing."""

    def scale_loss(self, loss: Tensor) -> Tensor:
        """The loss as it is."""
        return loss

    def __getitem__(self, name: str) -> _Probe:
        return _Probe(self._wrapper[name], backward=self._backward, losses=self.losses)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapper, name)


class _Seen:
    """What hooks on the modules of a model have seen."""

    def __init__(self) -> None:
        self.first: tuple[str, str, str] | None = None
        self.first_gradient: str | None = None

    def look(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        """Remember the first module whose output is not finite; an inner one comes first."""
        if self.first is not None or not (bad := _count_bad(output)):
            return
        kind = type(module).__name__
        before = "its input was not finite either" if _count_bad(inputs) else "its input is finite"
        self.first = (name, kind, f"{name} ({kind}): {bad} in its output; {before}.")

    def look_back(self, name: str, module: nn.Module, output: Any) -> None:
        """Watch the gradient at the output of a module."""
        for tensor in _tensors(output):
            if tensor.requires_grad:
                tensor.register_hook(lambda grad: self._gradient(name, module, grad))

    def _gradient(self, name: str, module: nn.Module, grad: Tensor) -> None:
        if self.first_gradient is None and (bad := _count_bad(grad)):
            self.first_gradient = f"{name} ({type(module).__name__}): {bad}"

    def backward_lines(self, model: nn.Module) -> list[str]:
        """What backward has shown."""
        lines = []
        if self.first_gradient is not None:
            lines.append(
                "Going backward, the first gradient that is not finite arrives at the output of "
                f"{self.first_gradient}."
            )
        names = [
            n for n, p in model.named_parameters() if p.grad is not None and _count_bad(p.grad)
        ]
        if names:
            lines.append(f"Parameters with such gradients: {_listed(names)}.")
        return lines


@contextmanager
def _watched(model: nn.Module, gradients: bool) -> Iterator[_Seen]:
    seen = _Seen()
    handles = []
    for name, module in model.named_modules():
        if module is model:  # its output is the loss
            continue

        def hook(
            module: nn.Module, inputs: Any, kwargs: Any, output: Any, name: str = name
        ) -> None:
            seen.look(name, module, (inputs, kwargs), output)
            if gradients:
                seen.look_back(name, module, output)

        handles.append(module.register_forward_hook(hook, with_kwargs=True))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _in_batch(data_batch: Any) -> list[str]:
    places = [
        place or "the batch" for place, tensor in _places(data_batch, "") if _count_bad(tensor)
    ]
    return [f"The batch itself is not finite, at: {_listed(places)}."] if places else []


def _in_weights(model: nn.Module) -> list[str]:
    names = [name for name, value in model.state_dict().items() if _count_bad(value)]
    return [f"Weights that are not finite before the step: {_listed(names)}."] if names else []


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return ", ".join(names[:_MAX_SHOWN]) + more


def _places(value: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    """Tensors inside nested containers, each with the way to it."""
    if isinstance(value, Tensor):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _places(item, f"{place}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _places(item, f"{place}[{index}]")
    elif callable(getattr(value, "items", None)):  # data elements
        for key, item in value.items():
            yield from _places(item, f"{place}.{key}")


def _tensors(value: Any) -> Iterator[Tensor]:
    return (tensor for _, tensor in _places(value, ""))


def _count_bad(value: Any) -> str:
    """``"3 nan and 1 inf of 8 values"``, or nothing where all are finite."""
    nans = infs = total = 0
    for tensor in _tensors(value):
        if tensor.is_floating_point() or tensor.is_complex():
            nans += int(tensor.isnan().sum())
            infs += int(tensor.isinf().sum())
            total += tensor.numel()
    counts = [f"{n} {what}" for n, what in ((nans, "nan"), (infs, "inf")) if n]
    return f"{' and '.join(counts)} of {total} values" if counts else ""

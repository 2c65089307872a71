"""Data parallelism for models whose parts are trained in turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from drivetrain.dist._ddp import MMDistributedDataParallel
from drivetrain.dist._device import get_device
from drivetrain.dist._errors import WrapperError
from drivetrain.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class MMSeparateDistributedDataParallel(DistributedDataParallel):
    """Each part of a model wrapped on its own, for parts that are updated in turns.

    One wrapper around a whole generator and discriminator would wait for gradients of the part
    that is not being trained. Here each child with trainable parameters is a
    ``MMDistributedDataParallel``; the steps are those of the model itself.

    Args:
        module: A model whose trainable parameters all belong to its children.
        broadcast_buffers: Whether buffers are taken from rank 0 at each forward pass.
        find_unused_parameters: Whether parameters without a gradient are looked for.
        **kwargs: Those of ``MMDistributedDataParallel``, for each part.

    Raises:
        WrapperError: If the model has trainable parameters of its own, or none at all.
    """

    def __init__(
        self,
        module: nn.Module,
        broadcast_buffers: bool = False,
        find_unused_parameters: bool = False,
        **kwargs: Any,
    ) -> None:
        nn.Module.__init__(self)  # the parts are data-parallel; this class only has their type
        _check(module)
        self.module = module
        device = get_device()
        for name, part in module.named_children():
            part = part.to(device)
            if any(param.requires_grad for param in part.parameters()):
                part = MMDistributedDataParallel(
                    part,
                    broadcast_buffers=broadcast_buffers,
                    find_unused_parameters=find_unused_parameters,
                    **kwargs,
                )
            module._modules[name] = part

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Call the model; its parts exchange their gradients."""
        return self.module(*inputs, **kwargs)

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        """The training step of the model, which updates its parts one by one.

        Args:
            data: A batch as the loader gave it.
            optim_wrapper: Wrappers by name, one for each part.
        """
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: Any) -> Any:
        """Predictions of the model during validation."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> Any:
        """Predictions of the model during testing."""
        return self.module.test_step(data)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Keep the gradients of all parts to this rank."""
        with ExitStack() as stack:
            for part in self.module.children():
                if isinstance(part, MMDistributedDataParallel):
                    stack.enter_context(part.no_sync())
            yield

    def train(self, mode: bool = True) -> MMSeparateDistributedDataParallel:
        """Set training mode, here and in all parts."""
        self.training = mode
        self.module.train(mode)
        return self


def _check(module: nn.Module) -> None:
    own = [name for name, param in module.named_parameters(recurse=False) if param.requires_grad]
    if own:
        raise WrapperError(
            f"MMSeparateDistributedDataParallel: {type(module).__name__} has trainable parameters "
            f"of its own, which no part would exchange: {', '.join(own)}.\n"
            "  Do:  move them into a child, or use MMDistributedDataParallel."
        )
    if not any(param.requires_grad for param in module.parameters()):
        raise WrapperError(
            f"MMSeparateDistributedDataParallel: {type(module).__name__} has nothing to train."
        )

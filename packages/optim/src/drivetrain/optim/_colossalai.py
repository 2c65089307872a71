"""Updates through ColossalAI's booster, which goes backward for its plugins."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from drivetrain.optim._errors import OptimArgumentError
from drivetrain.optim._optim_wrapper import _NO_CONTEXT, OptimWrapper
from drivetrain.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class ColossalAIOptimWrapper(OptimWrapper):
    """For ``ColossalAIStrategy``, which gives it :attr:`booster` and the boosted optimizer.

    Args:
        optimizer: The optimizer that is boosted.
        **kwargs: Arguments of :class:`OptimWrapper`.
    """

    def __init__(self, optimizer: Any, **kwargs: Any) -> None:
        super().__init__(optimizer, **kwargs)
        #: The booster; ``None`` until the strategy has made it.
        self.booster: Any = None

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Compute gradients as the plugin wants it, and count the pass.

        Args:
            loss: Scalar tensor with a graph.
            **kwargs: Not used: the booster takes no options.

        Raises:
            OptimArgumentError: If the strategy has not made a booster yet.
        """
        if self.booster is None:
            raise OptimArgumentError(
                "ColossalAIOptimWrapper: there is no booster. Use it with ColossalAIStrategy."
            )
        self.booster.backward(loss, self.optimizer)
        self._inner_count += 1

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Keep gradients from being exchanged inside a group of passes."""
        if self.should_sync() or self.booster is None:
            return _NO_CONTEXT
        return self.booster.no_sync(getattr(model, "engine", model), self.optimizer)

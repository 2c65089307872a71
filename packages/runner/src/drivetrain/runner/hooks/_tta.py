"""Testing with several views of each sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from drivetrain.dist import is_model_wrapper
from drivetrain.registry import HOOKS, MODELS, building
from drivetrain.runner.hooks._hook import Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class PrepareTTAHook(Hook):
    """Put the model into a test-time augmentation model for the time of a test.

    After the test the runner has its own model back; training and validation never see the other.

    Args:
        tta_cfg: Config of the wrapping model, a subclass of ``BaseTTAModel``; its ``module`` is
            filled in. ``type`` is ``"BaseTTAModel"`` by default.
    """

    priority = "NORMAL"

    def __init__(self, tta_cfg: Mapping[str, Any]) -> None:
        self.tta_cfg = {"type": "BaseTTAModel", **tta_cfg}
        self._own_model: Any = None

    def before_test(self, runner: Engine) -> None:
        """Wrap the model, without what wraps it for several processes: a test does not train."""
        self._own_model = runner.model
        module = runner.model.module if is_model_wrapper(runner.model) else runner.model
        with building("tta_model"):
            runner.model = MODELS.build(self.tta_cfg, default_args={"module": module})

    def after_test(self, runner: Engine) -> None:
        """Give the runner its model back."""
        runner.model = self._own_model
        self._own_model = None

"""Predictions for several views of each sample, merged into one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from drivetrain.model._base_model import BaseModel
from drivetrain.model._errors import BatchError, ModelTypeError
from drivetrain.registry import MODELS, building


class BaseTTAModel(BaseModel):
    """Tests a model on several augmented views of each sample, and merges what it predicts.

    The data pipeline gives each field of a sample as a list of views, so a batch looks like
    ``{'inputs': [view 1 of all samples, view 2 of all samples, ...], ...}``. A subclass implements
    :meth:`merge_preds`.

    Args:
        module: The model that is tested, or its node.

    Raises:
        ModelTypeError: If it is neither, or has no ``test_step``.
    """

    def __init__(self, module: nn.Module | Mapping[str, Any]) -> None:
        super().__init__()
        if isinstance(module, Mapping):
            with building("module"):
                module = MODELS.build(module)
        if not isinstance(module, nn.Module) or not hasattr(module, "test_step"):
            raise ModelTypeError(
                f"{type(self).__name__}: module must be a model with test_step, or its dict, "
                f"got {type(module).__name__}"
            )
        self.module = module

    @abstractmethod
    def merge_preds(self, data_samples_list: list[list[Any]]) -> list[Any]:
        """Merge the predictions for the views of each sample.

        Args:
            data_samples_list: For each sample, the predictions for its views.

        Returns:
            One prediction per sample.
        """

    def test_step(self, data: Any) -> list[Any]:
        """Return the merged predictions for a batch of views.

        Args:
            data: A dict, list or tuple whose fields each hold one entry per view.

        Returns:
            One prediction per sample.

        Raises:
            BatchError: If the batch is none of these, its fields differ in their number of views,
                or the views give different numbers of predictions.
        """
        predictions = [self.module.test_step(view) for view in _views(data)]  # type: ignore[operator]  # checked at construction
        lengths = {len(prediction) for prediction in predictions}
        if len(lengths) > 1:
            raise BatchError(
                f"{type(self).__name__}: the views of a batch gave {sorted(lengths)} predictions"
            )
        return self.merge_preds([list(views) for views in zip(*predictions, strict=True)])

    def forward(
        self, inputs: Tensor, data_samples: list[Any] | None = None, mode: str = "tensor"
    ) -> Any:
        """Not available: the model inside is tested through :meth:`test_step`."""
        raise NotImplementedError(
            f"{type(self).__name__} only tests; call test_step, or forward of its .module"
        )


def _views(data: Any) -> list[Any]:
    """Turn a batch of lists of views into a list of batches."""
    if isinstance(data, Mapping):
        count = _view_count(data.values())
        return [{key: value[index] for key, value in data.items()} for index in range(count)]
    if isinstance(data, list | tuple):
        count = _view_count(data)
        return [[value[index] for value in data] for index in range(count)]
    raise BatchError(
        f"test-time augmentation needs a batch that is a dict, list or tuple, "
        f"got {type(data).__name__}"
    )


def _view_count(fields: Any) -> int:
    counts = {len(field) for field in fields}
    if len(counts) != 1:
        raise BatchError(
            f"test-time augmentation: all fields of a batch need one number of views, got "
            f"{sorted(counts)}"
        )
    return counts.pop()

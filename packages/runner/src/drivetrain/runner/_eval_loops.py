"""Validation and test loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.utils.data import DataLoader

from drivetrain.dataset import batch_extent
from drivetrain.dist import all_reduce_dict, autocast
from drivetrain.evaluator import Evaluator
from drivetrain.registry import LOOPS
from drivetrain.runner._as_written import as_written, keeps
from drivetrain.runner._base_loop import BaseLoop, batches_of
from drivetrain.runner._quick_step import calls_hooks_as_written, quick_evaluation
from drivetrain.structures import BaseDataElement

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


class EvalLoop(BaseLoop):
    """One pass over data without training, and the metrics of it.

    Args:
        runner: The runner that the loop belongs to.
        dataloader: A loader, or the config of one.
        evaluator: An evaluator, or the config of one.
        fp16: Run the model under automatic mixed precision.
    """

    mode: ClassVar[str]

    def __init__(
        self,
        runner: Engine,
        dataloader: DataLoader | dict[str, Any],
        evaluator: Evaluator | dict[str, Any] | Sequence[dict[str, Any]],
        fp16: bool = False,
    ) -> None:
        super().__init__(runner, dataloader)
        batches_of(self.mode, self.dataloader)  # metrics and log lines count against it
        self.evaluator = runner.build_evaluator(evaluator)
        self.fp16 = fp16
        self._before_iter = f"before_{self.mode}_iter"
        self._after_iter = f"after_{self.mode}_iter"
        self._distributed = runner.distributed
        self._losses: dict[str, list[torch.Tensor]] = {}
        metainfo = getattr(self.dataloader.dataset, "metainfo", None)
        if metainfo is not None:
            self.evaluator.dataset_meta = metainfo
            runner.visualizer.dataset_meta = metainfo

    def run(self) -> dict[str, float]:
        """Go through the data once; returns the metrics."""
        runner, mode = self._runner, self.mode
        runner.call_hook(f"before_{mode}")
        runner.call_hook(f"before_{mode}_epoch")
        runner.model.eval()
        self._losses = {}
        dataset: Any = self.dataloader.dataset
        run_iter = self._quick() or self.run_iter
        with torch.no_grad():
            for idx, data_batch in enumerate(self.dataloader):
                run_iter(idx, data_batch)
        metrics = self.evaluator.evaluate(len(dataset))
        metrics.update(self._mean_losses())
        runner.call_hook(f"after_{mode}_epoch", metrics=metrics)
        runner.call_hook(f"after_{mode}")
        return metrics

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Predict one batch, and hand the predictions to the evaluator."""
        if torch.is_grad_enabled():  # called by a loop of somebody else's
            with torch.no_grad():
                self.run_iter(idx, data_batch)
            return
        runner = self._runner
        runner.call_hook(self._before_iter, batch_idx=idx, data_batch=data_batch)
        if self.fp16:
            with autocast(enabled=True):
                outputs = self._predict(data_batch)
        else:
            outputs = self._predict(data_batch)
        outputs = self._take_losses(outputs)
        padding = self._padding(idx) if self._distributed else {}
        self.evaluator.process(data_samples=outputs, data_batch=data_batch, **padding)
        runner.call_hook(self._after_iter, batch_idx=idx, data_batch=data_batch, outputs=outputs)

    def _quick(self) -> Callable[[int, Any], None] | None:
        """:meth:`run_iter` as one function; None where somebody steps in, or it does not suit."""
        if not keeps(self, _STEP) or self.fp16 or self._distributed:
            return None
        return quick_evaluation(self) if calls_hooks_as_written(self._runner) else None

    def _predict(self, data_batch: Any) -> Any:
        model = self._runner.model
        return model.val_step(data_batch) if self.mode == "val" else model.test_step(data_batch)

    def _padding(self, idx: int) -> dict[str, int]:
        """How many samples of a batch only make the ranks even: no metric may count them."""
        extent = batch_extent(self.dataloader, idx)
        if extent.num_padded == 0:
            return {}
        return {"num_samples": extent.num_samples, "num_padded": extent.num_padded}

    def _take_losses(self, outputs: Any) -> Any:
        """Remove the element that a model may append to its predictions to report its losses."""
        if not isinstance(outputs, (list, tuple)) or not outputs:
            return outputs
        last = outputs[-1]
        if not isinstance(last, BaseDataElement) or last.keys() != ["loss"]:
            return outputs
        loss = last.get("loss")
        losses = loss if isinstance(loss, dict) else {"loss": loss}
        for name, value in losses.items():
            values = value if isinstance(value, (list, tuple)) else [value]
            for one in values:
                self._losses.setdefault(name, []).append(one.detach().mean())
        return outputs[:-1]

    def _mean_losses(self) -> dict[str, float]:
        """Mean of each loss over the pass on all ranks, and their sum as ``loss``.

        All ranks get the same numbers: what a hook decides by them must not part the ranks.
        """
        sums = {name: _sum_and_count(values) for name, values in self._losses.items()}
        if self._distributed:
            all_reduce_dict(sums)
        means = {name: total / count for name, (total, count) in sums.items()}
        if not means:
            return {}
        total = torch.stack([value for name, value in means.items() if "loss" in name]).sum()
        return {name: float(value) for name, value in {**means, "loss": total}.items()}


_STEP = as_written(EvalLoop, "run_iter", "_predict", "_take_losses")


def _sum_and_count(values: list[torch.Tensor]) -> torch.Tensor:
    """``(2,)`` float32: the sum of scalars, and how many there are."""
    total = torch.stack(values).float().sum()
    return torch.stack([total, torch.full_like(total, len(values))])


@LOOPS.register_module()
class ValLoop(EvalLoop):
    """Validation: ``model.val_step`` on each batch."""

    mode = "val"


@LOOPS.register_module()
class TestLoop(EvalLoop):
    """Test: ``model.test_step`` on each batch."""

    mode = "test"
    __test__ = False  # pytest would take the name for that of a test

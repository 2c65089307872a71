"""Strategies: how one and the same model is trained on one device or on many."""

from drivetrain.dist._protocols import OptimizerWrapper, Scheduler, TrainableModel
from drivetrain.dist.strategy._base import BaseStrategy
from drivetrain.dist.strategy._colossalai import ColossalAIStrategy
from drivetrain.dist.strategy._ddp import DDPStrategy
from drivetrain.dist.strategy._deepspeed import DeepSpeedStrategy
from drivetrain.dist.strategy._fsdp import FSDPStrategy
from drivetrain.dist.strategy._sharded_checkpoint import (
    load_sharded,
    merge_shards,
    outline_sharded,
)
from drivetrain.dist.strategy._single import SingleDeviceStrategy

__all__ = [
    "BaseStrategy",
    "ColossalAIStrategy",
    "DDPStrategy",
    "DeepSpeedStrategy",
    "FSDPStrategy",
    "OptimizerWrapper",
    "Scheduler",
    "SingleDeviceStrategy",
    "TrainableModel",
    "load_sharded",
    "merge_shards",
    "outline_sharded",
]

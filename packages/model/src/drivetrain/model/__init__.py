"""Base classes of models, weight initialization, preprocessing, averaged models."""

from drivetrain.dist import (
    MMDistributedDataParallel,
    convert_sync_batchnorm,
    detect_anomalous_params,
    is_model_wrapper,
    revert_sync_batchnorm,
)
from drivetrain.model.__about__ import __version__
from drivetrain.model._activation_checkpointing import turn_on_activation_checkpointing
from drivetrain.model._averaged_model import (
    BaseAveragedModel,
    ExponentialMovingAverage,
    MomentumAnnealingEMA,
    StochasticWeightAverage,
)
from drivetrain.model._base_model import BaseModel
from drivetrain.model._base_module import BaseModule, ModuleDict, ModuleList, Sequential
from drivetrain.model._conv_bn import fuse_conv_bn, turn_on_efficient_conv_bn_eval
from drivetrain.model._data_preprocessor import BaseDataPreprocessor
from drivetrain.model._errors import (
    AveragingError,
    BatchError,
    InitCfgError,
    ModelArgumentError,
    ModelError,
    ModelOutputError,
    ModelTypeError,
)
from drivetrain.model._img_data_preprocessor import ImgDataPreprocessor
from drivetrain.model._initializers import (
    BaseInit,
    Caffe2XavierInit,
    ConstantInit,
    KaimingInit,
    NormalInit,
    PretrainedInit,
    TruncNormalInit,
    UniformInit,
    XavierInit,
    initialize,
)
from drivetrain.model._merge_dict import merge_dict
from drivetrain.model._norm_layers import (
    SyncBatchNorm,
    _BatchNorm,
    _ConvNd,
    _InstanceNorm,
    has_batch_norm,
    is_norm,
)
from drivetrain.model._stack_batch import stack_batch
from drivetrain.model._torch_build import (
    TORCH_VERSION,
    is_jit_tracing,
    is_rocm_pytorch,
    torch_meshgrid,
)
from drivetrain.model._tta import BaseTTAModel
from drivetrain.model._weight_init import (
    bias_init_with_prob,
    caffe2_xavier_init,
    constant_init,
    kaiming_init,
    normal_init,
    trunc_normal_,
    trunc_normal_init,
    uniform_init,
    update_init_info,
    xavier_init,
)

__all__ = [
    "TORCH_VERSION",
    "AveragingError",
    "BaseAveragedModel",
    "BaseDataPreprocessor",
    "BaseInit",
    "BaseModel",
    "BaseModule",
    "BaseTTAModel",
    "BatchError",
    "Caffe2XavierInit",
    "ConstantInit",
    "ExponentialMovingAverage",
    "ImgDataPreprocessor",
    "InitCfgError",
    "KaimingInit",
    "MMDistributedDataParallel",
    "ModelArgumentError",
    "ModelError",
    "ModelOutputError",
    "ModelTypeError",
    "ModuleDict",
    "ModuleList",
    "MomentumAnnealingEMA",
    "NormalInit",
    "PretrainedInit",
    "Sequential",
    "StochasticWeightAverage",
    "SyncBatchNorm",
    "TruncNormalInit",
    "UniformInit",
    "XavierInit",
    "_BatchNorm",
    "_ConvNd",
    "_InstanceNorm",
    "__version__",
    "bias_init_with_prob",
    "caffe2_xavier_init",
    "constant_init",
    "convert_sync_batchnorm",
    "detect_anomalous_params",
    "fuse_conv_bn",
    "has_batch_norm",
    "initialize",
    "is_jit_tracing",
    "is_model_wrapper",
    "is_norm",
    "is_rocm_pytorch",
    "kaiming_init",
    "merge_dict",
    "normal_init",
    "revert_sync_batchnorm",
    "stack_batch",
    "torch_meshgrid",
    "trunc_normal_",
    "trunc_normal_init",
    "turn_on_activation_checkpointing",
    "turn_on_efficient_conv_bn_eval",
    "uniform_init",
    "update_init_info",
    "xavier_init",
]

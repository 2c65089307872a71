"""Using a trained model: from raw inputs to results that a person, or a program, can read."""

from drivetrain.runner.infer._base_inferencer import (
    BaseInferencer,
    InferencerMeta,
    InputsType,
    InputType,
    ModelType,
)

__all__ = ["BaseInferencer", "InferencerMeta", "InputType", "InputsType", "ModelType"]

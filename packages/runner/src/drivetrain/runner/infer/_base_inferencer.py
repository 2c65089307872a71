"""From raw inputs to results: what all inferencers share."""

from __future__ import annotations

import logging
import re
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import torch
from rich.progress import track
from torch import nn

from drivetrain.checkpoint import _load_checkpoint, _load_checkpoint_to_model
from drivetrain.config import Config, ConfigDict
from drivetrain.dataset import pseudo_collate
from drivetrain.dist import get_device
from drivetrain.fileio import exists, isdir, join_path, list_dir_or_file
from drivetrain.logging import print_log
from drivetrain.registry import (
    FUNCTIONS,
    MODELS,
    VISUALIZERS,
    DefaultScope,
    building,
    is_installed,
)
from drivetrain.runner._errors import InferencerError, ModelIndexError
from drivetrain.runner._model_index import model_by_name, models_of
from drivetrain.runner.hub import register_modules_of
from drivetrain.runner.infer._carried_config import carried_config
from drivetrain.structures import BaseDataElement
from drivetrain.visualization import Visualizer

InputType = str | np.ndarray | torch.Tensor
InputsType = InputType | Sequence[InputType]
ImgType = np.ndarray | Sequence[np.ndarray]
ModelType = dict[str, Any] | ConfigDict | str

_STAGES = ("preprocess", "forward", "visualize", "postprocess")


class InferencerMeta(ABCMeta):
    """Refuses a class of inferencers of which two stages take arguments of one name.

    A call hands each argument to the stage that knows its name.
    """

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        owners: dict[str, str] = {}
        for stage in _STAGES:
            known = getattr(cls, f"{stage}_kwargs", set())
            if not isinstance(known, set):
                raise TypeError(f"{name}.{stage}_kwargs is a set of names, got {known!r}")
            for argument in known:
                if argument in owners:
                    raise InferencerError(
                        f"{name}: both {owners[argument]} and {stage} take {argument!r}; "
                        "rename one of them"
                    )
                owners[argument] = stage


class BaseInferencer(metaclass=InferencerMeta):
    """Preprocess, forward, visualize and postprocess, batch by batch.

    A subclass writes :meth:`visualize`, :meth:`postprocess` and :meth:`_init_pipeline`, and names
    the arguments of each stage in ``preprocess_kwargs``, ``forward_kwargs``, ``visualize_kwargs``
    and ``postprocess_kwargs``; a call hands them on.

    Args:
        model: A config, the path of one, or the name of a model in the index of the package
            ``scope``. By default the config that ``weights`` carries.
        weights: Path or URL of a checkpoint; by default that of the model index, else none.
        device: Where to run; by default the best there is.
        scope: Package, and scope in the registries, that the model belongs to.
        show_progress: Show a bar.

    Raises:
        InferencerError: If neither a model nor weights that carry a config are given.
    """

    preprocess_kwargs: ClassVar[set[str]] = set()
    forward_kwargs: ClassVar[set[str]] = set()
    visualize_kwargs: ClassVar[set[str]] = set()
    postprocess_kwargs: ClassVar[set[str]] = set()

    def __init__(
        self,
        model: ModelType | Config | None = None,
        weights: str | None = None,
        device: str | torch.device | None = None,
        scope: str | None = None,
        show_progress: bool = True,
    ) -> None:
        self.scope = scope = scope if scope is not None else _scope_in_force()
        self.show_progress = show_progress
        device = device or get_device()
        cfg: Any = None
        if isinstance(model, str):
            cfg, weights = self._cfg_of_name(model, weights)
        elif isinstance(model, Mapping):
            cfg = model if isinstance(model, Config) else Config(dict(model))
        elif model is not None:
            raise TypeError(f"{self._me}: model is a name, a path or a config, got {model!r}")
        elif weights is None:
            raise InferencerError(f"{self._me}: give a model, or weights that carry a config")
        self.model: Any = self._init_model(cfg, weights, str(device))
        self.cfg: Config = cfg if cfg is not None else getattr(self.model, "cfg")  # noqa: B009
        with DefaultScope.overwrite_default_scope(self.scope):
            self.pipeline = self._init_pipeline(self.cfg)
            self.collate_fn = self._init_collate(self.cfg)
            self.visualizer = self._init_visualizer(self.cfg)

    @property
    def _me(self) -> str:
        return type(self).__name__

    # ---------------------------------------------------------------- using it

    def __call__(
        self,
        inputs: InputsType,
        return_datasamples: bool = False,
        batch_size: int = 1,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Run all stages.

        Args:
            inputs: One input, several, or a folder whose files are the inputs.
            return_datasamples: Return predictions as data elements, not as dicts.
            batch_size: Inputs that the model sees at once.
            **kwargs: Arguments of the stages.

        Returns:
            What :meth:`postprocess` returns: usually ``predictions`` and ``visualization``.
        """
        preprocess, forward, visualize, postprocess = self._dispatch_kwargs(**kwargs)
        originals = self._inputs_to_list(inputs)
        batches = self.preprocess(originals, batch_size=batch_size, **preprocess)
        if self.show_progress:
            total = -(-len(originals) // batch_size)
            batches = track(batches, description="Inference", total=total)
        predictions: list[Any] = []
        for data in batches:
            predictions.extend(self.forward(data, **forward))
        visualization = self.visualize(originals, predictions, **visualize)
        return self.postprocess(predictions, visualization, return_datasamples, **postprocess)

    def _inputs_to_list(self, inputs: InputsType) -> list[Any]:
        """The inputs as a list; of a folder, the paths of its files."""
        if isinstance(inputs, str):
            if isdir(inputs):
                files = sorted(list_dir_or_file(inputs, list_dir=False))
                return [join_path(inputs, name) for name in files]
            return [inputs]
        return list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]

    def preprocess(
        self, inputs: Sequence[Any], batch_size: int = 1, **kwargs: Any
    ) -> Iterable[Any]:
        """Turn inputs into batches, one after another.

        Args:
            inputs: The inputs.
            batch_size: Inputs of a batch.
            **kwargs: Arguments of ``preprocess_kwargs``.
        """
        processed = map(self.pipeline, inputs)
        for chunk in self._get_chunk_data(processed, batch_size):
            yield self.collate_fn(chunk)

    @torch.no_grad()
    def forward(self, inputs: Any, **kwargs: Any) -> Any:
        """Predict one batch."""
        return self.model.test_step(inputs)

    @abstractmethod
    def visualize(
        self, inputs: list[Any], preds: Any, show: bool = False, **kwargs: Any
    ) -> list[np.ndarray] | None:
        """Draw predictions.

        Args:
            inputs: The inputs.
            preds: The predictions, one for each.
            show: Show what was drawn.
            **kwargs: Arguments of ``visualize_kwargs``.

        Returns:
            Pictures, or None for none.
        """

    @abstractmethod
    def postprocess(
        self,
        preds: Any,
        visualization: list[np.ndarray] | None,
        return_datasample: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Make the result of a call.

        Args:
            preds: The predictions.
            visualization: What :meth:`visualize` returned.
            return_datasample: Leave predictions as they are, not as dicts.
            **kwargs: Arguments of ``postprocess_kwargs``.
        """

    def pred2dict(self, data_sample: BaseDataElement) -> dict[str, Any]:
        """A prediction as a dict of plain values, for JSON; override it for what is to be in it."""
        return _plain(data_sample.to_dict())

    # ---------------------------------------------------------------- building its parts

    def _cfg_of_name(self, model: str, weights: str | None) -> tuple[Config, str | None]:
        if "::" in model or exists(model):
            return Config.fromfile(model), weights
        cfg, found = self._load_model_from_metafile(model)
        return cfg, weights if weights is not None else found

    def _load_model_from_metafile(self, model: str) -> tuple[Config, str | None]:
        """Config and weights of a model, by its name in the index of the package ``scope``."""
        if self.scope is None:
            raise ModelIndexError(
                f"{self._me}: {model!r} is no file; to find it by name, give the package as scope"
            )
        entry = model_by_name(self.scope, model)
        path = entry.config.removeprefix("configs/")
        return Config.fromfile(f"{self.scope}::{path}"), entry.weights

    def _init_model(
        self, cfg: Config | None, weights: str | None, device: str = "cpu"
    ) -> nn.Module:
        """Build the model, load the weights, and get it ready to predict."""
        checkpoint = None
        if weights is not None:
            checkpoint = _load_checkpoint(weights, map_location="cpu")
        if cfg is None:
            cfg = carried_config(checkpoint or {}, str(weights), self.scope)
        if self.scope is not None and is_installed(self.scope):
            register_modules_of(self.scope)
        with DefaultScope.overwrite_default_scope(self.scope), building("model"):
            node = cfg.model if checkpoint is None else _without_pretrained(cfg.model)
            model: Any = MODELS.build(node)
        self._load_weights_to_model(model, checkpoint, cfg)
        model.cfg = cfg
        model.to(device)
        return model.eval()

    def _load_weights_to_model(
        self, model: nn.Module, checkpoint: dict[str, Any] | None, cfg: Config | None
    ) -> None:
        """Load weights; what they know of their dataset goes into ``model.dataset_meta``."""
        if checkpoint is None:
            print_log(
                f"{self._me}: no weights were given; the model predicts at random.",
                level=logging.WARNING,
            )
            return
        _load_checkpoint_to_model(model, checkpoint)
        meta = checkpoint.get("meta") or {}
        dataset_meta = meta.get("dataset_meta")
        if dataset_meta is not None:
            model.dataset_meta = dict(dataset_meta)  # type: ignore[assignment]  # an attribute

    @abstractmethod
    def _init_pipeline(self, cfg: Config) -> Callable[[Any], Any]:
        """What turns one input into what the collate function takes."""

    def _init_collate(self, cfg: Config) -> Callable[[list[Any]], Any]:
        """The collate function of the config's test loader; ``pseudo_collate`` by default."""
        node = (cfg.get("test_dataloader") or {}).get("collate_fn")
        if node is None:
            return pseudo_collate
        if callable(node):
            return node
        arguments = dict(node)
        kind = arguments.pop("type")
        function: Any = kind if callable(kind) else FUNCTIONS.get(kind)
        if function is None:
            raise InferencerError(f"{self._me}: no function {kind!r} to collate with")
        return (lambda batch: function(batch, **arguments)) if arguments else function

    def _init_visualizer(self, cfg: Config) -> Visualizer | None:
        """The visualizer of the config, if it has one."""
        node = cfg.get("visualizer")
        if node is None:
            return None
        name = f"inferencer{id(self)}"
        with building("visualizer"):
            return VISUALIZERS.build({**node, "name": name})

    def _get_chunk_data(self, inputs: Iterable[Any], chunk_size: int) -> Iterator[list[Any]]:
        """Lists of ``chunk_size`` inputs each; the last may be shorter."""
        iterator = iter(inputs)
        while chunk := list(islice(iterator, chunk_size)):
            yield chunk

    def _dispatch_kwargs(self, **kwargs: Any) -> tuple[dict, dict, dict, dict]:
        """Arguments of a call, sorted by the stage that knows them."""
        known = [getattr(self, f"{stage}_kwargs") for stage in _STAGES]
        unknown = sorted(set(kwargs) - set().union(*known))
        if unknown:
            names = ", ".join(sorted(set().union(*known))) or "none"
            raise InferencerError(
                f"{self._me}: no stage takes {', '.join(map(repr, unknown))}; known: {names}"
            )
        sorted_out = [{k: v for k, v in kwargs.items() if k in names} for names in known]
        return sorted_out[0], sorted_out[1], sorted_out[2], sorted_out[3]

    @staticmethod
    def list_models(scope: str | None = None, patterns: str = r".*") -> list[str]:
        """Names of the models that a package offers.

        Args:
            scope: The package; by default the scope in force.
            patterns: Regular expression that a name has to match.
        """
        scope = scope if scope is not None else _scope_in_force()
        if scope is None:
            raise ModelIndexError("list_models: give the package as scope")
        return [m.name for m in models_of(scope) if re.match(patterns, m.name)]


def _scope_in_force() -> str | None:
    scope = DefaultScope.get_current_instance()
    return None if scope is None else scope.scope_name


def _without_pretrained(node: Any) -> Any:
    """A model's config without what would be downloaded, only to be overwritten by the weights."""
    if isinstance(node, Mapping):
        kept = {k: _without_pretrained(v) for k, v in node.items() if k != "pretrained"}
        init_cfg = kept.get("init_cfg")
        if isinstance(init_cfg, Mapping) and init_cfg.get("type") == "Pretrained":
            del kept["init_cfg"]
        return kept
    return [_without_pretrained(item) for item in node] if isinstance(node, list) else node


def _plain(value: Any) -> Any:
    """Tensors, arrays and data elements as numbers, lists and dicts."""
    if isinstance(value, BaseDataElement):
        return _plain(value.to_dict())
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value

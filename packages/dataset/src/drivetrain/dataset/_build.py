"""From a dataloader's config node to a loader."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from drivetrain.dataset._collate import pseudo_collate
from drivetrain.dataset._errors import EmptyLoaderError, LoaderConfigError
from drivetrain.dataset._first_samples import FirstSamples
from drivetrain.dataset._loader import KeyedDataLoader
from drivetrain.dataset._sample_randomness import is_deterministic
from drivetrain.dataset._worker import worker_init_fn as default_worker_init_fn
from drivetrain.dist import broadcast_object, get_data_share, get_world_size, sync_random_seed
from drivetrain.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS, building, current_path


def build_dataloader(
    dataloader: DataLoader | Mapping[str, Any],
    seed: int | None = None,
    diff_rank_seed: bool = False,
) -> DataLoader:
    """Build a loader from a config node; a loader comes back as it is.

    A loader built here makes each sample under randomness of its own, a function of
    ``(seed, epoch, sample index)``: the same for any number of workers and ranks, and after a
    resume. Loading draws nothing from the process's own generators, so the randomness of the
    model does not depend on it.

    Args:
        dataloader: A loader, or a mapping of ``DataLoader``'s arguments, where

            - ``dataset`` and ``sampler`` (required) and ``batch_sampler`` are objects or nodes;
            - ``collate_fn`` is a function, a name in the function registry, or a node whose other
              keys are bound to the function; ``pseudo_collate`` where absent;
            - ``worker_init_fn`` likewise; by default workers are seeded from ``seed`` and rank;
            - ``num_batch_per_epoch`` cuts the dataset to that many batches on every rank;
            - ``keyed_randomness=False`` leaves the samples' randomness to the global generators.
        seed: For the sampler and the samples. ``None`` draws one and agrees on it with all ranks.
        diff_rank_seed: The seed may differ between ranks; the sampler, whose order must be one for
            all, gets that of rank 0. To be called on all ranks then.

    Returns:
        The loader.

    Raises:
        LoaderConfigError: If a key is missing or contradicts another.
        EmptyLoaderError: If the loader would never yield a batch.
        RegistryError: If a node names or configures its component wrongly.

    Example:
        >>> loader = build_dataloader(dict(
        ...     dataset=[1, 2, 3],
        ...     sampler=dict(type="DefaultSampler", shuffle=False),
        ...     collate_fn="default_collate",
        ...     batch_size=2))
        >>> list(loader)
        [tensor([1, 2]), tensor([3])]
    """
    if isinstance(dataloader, DataLoader):
        return dataloader
    if not isinstance(dataloader, Mapping):
        if hasattr(dataloader, "__iter__"):
            return dataloader  # a loader of another kind: the caller's to know
        raise LoaderConfigError(
            f"a dataloader is a DataLoader or a mapping of its arguments, got {dataloader!r}"
        )
    try:
        return _loader_of(dict(dataloader), seed, diff_rank_seed)
    except (LoaderConfigError, EmptyLoaderError) as err:
        if place := current_path():  # such as train_dataloader
            err.args = (f"{place}: {err}",)
        raise


def _loader_of(options: dict[str, Any], seed: int | None, diff_rank_seed: bool) -> DataLoader:
    _check_counts(options)
    shared_seed = broadcast_object(seed) if diff_rank_seed else seed
    dataset = _build_dataset(options)
    batching = _build_batching(options, dataset, shared_seed)
    keyed = options.pop("keyed_randomness", True) and not is_deterministic(dataset)
    options["collate_fn"] = _build_collate(options)
    options["worker_init_fn"] = _build_worker_init(options, seed)
    _refuse_unknown(options)
    sample_seed = _sample_seed(shared_seed, batching)
    try:
        loader = KeyedDataLoader(dataset, seed=sample_seed, keyed=keyed, **batching, **options)
    except (TypeError, ValueError) as err:  # PyTorch's own: options that exclude each other
        raise LoaderConfigError(f"PyTorch refuses these options of a dataloader: {err}") from err
    _refuse_empty(loader)
    return loader


def _check_counts(options: Mapping[str, Any]) -> None:
    for key, least in (("batch_size", 1), ("num_workers", 0), ("num_batch_per_epoch", 1)):
        value = options.get(key)
        if value is not None and (not isinstance(value, int) or value < least):
            raise LoaderConfigError(
                f"{key} of a dataloader must be an integer from {least} on, got {value!r}"
            )


def _refuse_unknown(options: dict[str, Any]) -> None:
    known = inspect.signature(DataLoader).parameters
    for key in options:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise LoaderConfigError(
                f"a dataloader has no option {key!r}."
                + (f" Did you mean {near[0]!r}?" if near else "")
                + f" Known: {', '.join(sorted(known))}"
            )


def _build_dataset(options: dict[str, Any]) -> Any:
    if "dataset" not in options:
        raise LoaderConfigError("a dataloader needs a 'dataset': an object or a node with 'type'")
    node = options.pop("dataset")
    dataset = node
    if isinstance(node, Mapping):
        with building("dataset"):
            dataset = DATASETS.build(node)
    if hasattr(dataset, "full_init"):
        dataset.full_init()  # here, once, and not in every worker
    limit = options.pop("num_batch_per_epoch", None)
    if limit is None:
        return dataset
    return FirstSamples(dataset, limit * options.get("batch_size", 1) * get_data_share()[1])


def _build_batching(options: dict[str, Any], dataset: Any, seed: int | None) -> dict[str, Any]:
    """The arguments of ``DataLoader`` that say which samples come together."""
    if options.pop("shuffle", None):
        raise LoaderConfigError(
            "a dataloader node shuffles by its sampler, not by 'shuffle': "
            "write sampler=dict(type='DefaultSampler', shuffle=True)"
        )
    if isinstance(dataset, IterableDataset):
        if options.pop("sampler", None) is not None:
            raise LoaderConfigError(
                "an iterable dataset decides its own order, so it takes no 'sampler'"
            )
        return {}
    if "sampler" not in options and "batch_sampler" not in options:
        raise LoaderConfigError(
            "a dataloader node needs a 'sampler': for example dict(type='DefaultSampler', "
            "shuffle=True) for training, shuffle=False for evaluation"
        )
    sampler = options.pop("sampler", None)
    if isinstance(sampler, Mapping):
        with building("sampler"):
            sampler = _build_sampler(sampler, dataset=dataset, data_source=dataset, seed=seed)
    if sampler is not None and not isinstance(sampler, Iterable):
        raise LoaderConfigError(
            f"'sampler' of a dataloader is a sampler or its node, got {sampler!r}"
        )
    batch_sampler = options.pop("batch_sampler", None)
    if batch_sampler is None:
        return {"sampler": sampler}
    if isinstance(batch_sampler, Mapping):
        with building("batch_sampler"):
            batch_sampler = _build_sampler(
                batch_sampler,
                sampler=sampler,
                batch_size=options.pop("batch_size", 1),
                drop_last=options.pop("drop_last", False),
            )
    return {"batch_sampler": batch_sampler}


def _build_sampler(node: Mapping[str, Any], **offered: Any) -> Any:
    """Build a sampler, offering what its signature takes."""
    kind = node.get("type")
    factory = DATA_SAMPLERS.get(kind) if isinstance(kind, str) else kind
    if callable(factory):
        offered = {key: value for key, value in offered.items() if _accepts(factory, key)}
    return DATA_SAMPLERS.build(node, default_args=offered)


def _accepts(factory: Callable[..., Any], keyword: str) -> bool:
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a builtin without a signature: let the call itself tell
        return keyword != "data_source"
    if keyword == "data_source":  # what some of PyTorch's samplers call the dataset
        return keyword in parameters
    return keyword in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _build_collate(options: dict[str, Any]) -> Callable[..., Any]:
    if "collate_fn" not in options:
        return pseudo_collate
    with building("collate_fn"):
        return _build_function(options.pop("collate_fn"))


def _build_worker_init(options: dict[str, Any], seed: int | None) -> Callable[[int], None] | None:
    quiet = options.pop("disable_subprocess_warning", False)
    if "worker_init_fn" in options:
        node = options.pop("worker_init_fn")
        if node is None:
            return None
        with building("worker_init_fn"):
            return _build_function(node)
    if seed is None:
        return None
    return functools.partial(
        default_worker_init_fn,
        num_workers=options.get("num_workers", 0),
        rank=get_data_share()[0],
        seed=seed,
        disable_subprocess_warning=quiet,
    )


def _build_function(node: Any) -> Callable[..., Any]:
    """A function from itself, its name, or a node whose other keys are bound to it."""
    if callable(node):
        return node
    bound: dict[str, Any] = {}
    kind = node
    if isinstance(node, Mapping):
        bound = dict(node)
        if "type" not in bound:
            raise LoaderConfigError(f"a function's node needs a 'type', got {dict(node)!r}")
        kind = bound.pop("type")
    function = FUNCTIONS.get(kind) if isinstance(kind, str) else kind
    if function is None:
        known = ", ".join(sorted(FUNCTIONS.module_dict)) or "none"
        raise LoaderConfigError(f"no function {kind!r} in registry 'function'. Known: {known}")
    if not callable(function):
        raise LoaderConfigError(f"a function, its name or a node was expected, got {node!r}")
    return functools.partial(function, **bound) if bound else function


def _sample_seed(seed: int | None, batching: dict[str, Any]) -> int:
    """The seed of the samples' keys: one for all ranks."""
    if seed is not None:
        return seed
    sampler = batching.get("sampler", getattr(batching.get("batch_sampler"), "sampler", None))
    agreed = getattr(sampler, "seed", None)
    return agreed if isinstance(agreed, int) else int(sync_random_seed())


def _refuse_empty(loader: DataLoader) -> None:
    try:
        batches, samples = len(loader), len(loader.dataset)  # type: ignore[arg-type]
    except TypeError:  # an iterable dataset, or a sampler, without a length
        return
    drop_last = bool(getattr(loader.batch_sampler, "drop_last", loader.drop_last))
    # Few samples on many ranks leave some ranks without any: fine for an evaluation.
    if batches or (samples and not drop_last):
        return
    batch_size = getattr(loader.batch_sampler, "batch_size", loader.batch_size)
    raise EmptyLoaderError(
        f"the dataloader would yield no batch: its dataset ({type(loader.dataset).__name__}) has "
        f"{samples} samples, batch_size is {batch_size}, drop_last is {drop_last}, and there are "
        f"{get_world_size()} ranks. "
        + (
            "Use a smaller batch_size, or drop_last=False."
            if samples
            else "Check the annotation file, its filters and 'indices'."
        )
    )

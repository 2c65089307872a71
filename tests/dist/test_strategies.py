"""One model, one device or several: same weights, same checkpoints, resumable anywhere."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from drivetrain import dist
from drivetrain.dist.strategy import BaseStrategy, DDPStrategy, SingleDeviceStrategy
from drivetrain.registry import MODELS, STRATEGIES

SEEDED = {"randomness": {"seed": 7}}


def _tiny() -> Any:
    import tiny_training

    return tiny_training


@pytest.fixture(autouse=True)
def _builders() -> Iterator[None]:
    with _tiny().tiny_builders():
        yield


def _prepared(strategy: BaseStrategy, *, dropout: float = 0.0, **options: Any) -> BaseStrategy:
    strategy.setup()
    model = _tiny().TinyModel(dropout=dropout)
    strategy.prepare(
        model,
        optim_wrapper={**_tiny().ADAMW, **options},
        param_scheduler={"factor": 0.9},
        dispatch_kwargs={"max_iters": 8},
    )
    return strategy


def _single(folder: Path | str, **options: Any) -> BaseStrategy:
    return _prepared(SingleDeviceStrategy(work_dir=str(folder), env_kwargs=SEEDED), **options)


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


# ---- surroundings -----------------------------------------------------------------------------


def test_constructing_touches_nothing(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    strategy = SingleDeviceStrategy(work_dir=str(tmp_path / "runs"))
    assert strategy.work_dir == str(tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert torch.equal(torch.get_rng_state(), state)


def test_setup_makes_a_folder_a_log_and_a_name_by_one_time_stamp(tmp_path: Path) -> None:
    strategy = SingleDeviceStrategy(work_dir=str(tmp_path), experiment_name="digits")
    strategy.logger.info("hello")
    stamp = strategy.timestamp
    assert strategy.experiment_name == f"digits_{stamp}"
    assert strategy.log_dir == str(tmp_path / stamp)
    assert "hello" in (tmp_path / stamp / f"{stamp}.log").read_text()
    assert strategy.setup() is strategy


def test_log_settings_reach_the_logger(tmp_path: Path) -> None:
    log_file = tmp_path / "elsewhere.log"
    options = {"log_level": "WARNING", "log_file": str(log_file)}
    strategy = SingleDeviceStrategy(work_dir=str(tmp_path), log_kwargs=options)
    strategy.logger.info("unheard")
    strategy.logger.warning("heard")
    assert strategy.logger.level == logging.WARNING
    assert "unheard" not in log_file.read_text()
    assert "heard" in log_file.read_text()


@pytest.mark.parametrize(
    ("asked", "before", "after"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"cudnn_benchmark": True}, False, True),
        ({"cudnn_benchmark": False}, True, False),
    ],
    ids=str,
)
def test_cudnn_keeps_the_setting_of_the_program_unless_told(
    tmp_path: Path,
    asked: dict[str, bool],
    before: bool,
    after: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", before)
    SingleDeviceStrategy(work_dir=str(tmp_path), env_kwargs={**SEEDED, **asked}).setup()
    assert torch.backends.cudnn.benchmark is after


def test_the_seed_governs_the_weights(tmp_path: Path) -> None:
    first, second = _single(tmp_path), _single(tmp_path)
    assert first.seed == 7
    assert _equal(first.model_state_dict(), second.model_state_dict())


def test_without_a_seed_a_fresh_one_is_kept(tmp_path: Path) -> None:
    strategy = SingleDeviceStrategy(work_dir=str(tmp_path))
    assert 0 <= strategy.seed < 2**31
    assert strategy.seed == strategy.seed


def test_one_process_is_rank_0_of_1(tmp_path: Path) -> None:
    strategy = SingleDeviceStrategy(work_dir=str(tmp_path))
    assert (strategy.launcher, strategy.distributed) == ("none", False)
    assert (strategy.rank, strategy.world_size) == (0, 1)


def test_collect_env_tells_system_and_settings(tmp_path: Path) -> None:
    system, runtime = SingleDeviceStrategy(work_dir=str(tmp_path), env_kwargs=SEEDED).collect_env()
    assert "PyTorch" in system
    assert runtime["seed"] == 7
    assert runtime["Distributed training"] is False


def test_a_misspelt_setting_offers_the_nearest() -> None:
    with pytest.raises(dist.StrategyConfigError, match="Did you mean:  'cudnn_benchmark'"):
        SingleDeviceStrategy(env_kwargs={"cudnn_benchmrk": True})
    with pytest.raises(dist.StrategyConfigError, match="Did you mean:  'deterministic'"):
        SingleDeviceStrategy(env_kwargs={"randomness": {"determinstic": True}})


def test_a_single_device_refuses_a_launcher() -> None:
    with pytest.raises(dist.StrategyConfigError, match="use DDPStrategy"):
        SingleDeviceStrategy(env_kwargs={"launcher": "pytorch"})


def test_ddp_without_a_launcher_says_how_to_start(tmp_path: Path) -> None:
    strategy = DDPStrategy(work_dir=str(tmp_path), env_kwargs={"launcher": "none"})
    with pytest.raises(dist.StrategyConfigError, match="start with torchrun"):
        strategy.setup()


def test_a_work_dir_that_cannot_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        SingleDeviceStrategy(work_dir=str(tmp_path / "file" / "runs")).setup()


# ---- preparing --------------------------------------------------------------------------------


def test_strategies_are_found_by_name() -> None:
    assert STRATEGIES.get("SingleDeviceStrategy") is SingleDeviceStrategy
    assert STRATEGIES.get("DDPStrategy") is DDPStrategy


class InitCounter(nn.Module):
    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.norm = nn.SyncBatchNorm(width)
        self.inits = 0

    def init_weights(self) -> None:
        self.inits += 1


def test_a_model_is_built_from_config_initialized_converted_and_placed(tmp_path: Path) -> None:
    MODELS.register_module(name="InitCounterForTest", module=InitCounter, force=True)
    try:
        strategy = SingleDeviceStrategy(work_dir=str(tmp_path))
        [model] = strategy.prepare({"type": "InitCounterForTest", "width": 3})
    finally:
        MODELS.module_dict.pop("InitCounterForTest", None)
    assert model is strategy.model
    assert model.inits == 1
    assert not isinstance(model.norm, nn.SyncBatchNorm)
    assert next(model.parameters()).device.type == dist.get_device()


def test_weights_stay_as_they_are_for_a_test_that_says_so(tmp_path: Path) -> None:
    model = InitCounter()
    SingleDeviceStrategy(work_dir=str(tmp_path)).prepare(
        model, dispatch_kwargs={"init_weights_for_test_or_val": False}
    )
    assert model.inits == 0


def test_a_second_prepare_returns_the_first_and_adds_what_was_missing(tmp_path: Path) -> None:
    strategy = SingleDeviceStrategy(work_dir=str(tmp_path))
    [model] = strategy.prepare(_tiny().TinyModel())
    again = strategy.prepare(_tiny().TinyModel(), optim_wrapper=_tiny().ADAMW)
    assert again == [model, strategy.optim_wrapper]
    assert strategy.prepare(None) == again


def test_schedulers_need_an_optimizer(tmp_path: Path) -> None:
    strategy = SingleDeviceStrategy(work_dir=str(tmp_path))
    with pytest.raises(dist.StrategyError, match="needs an optim_wrapper"):
        strategy.prepare(_tiny().TinyModel(), param_scheduler={})


def test_accumulation_must_know_the_end_of_the_run(tmp_path: Path) -> None:
    strategy = SingleDeviceStrategy(work_dir=str(tmp_path))
    with pytest.raises(dist.StrategyError, match="pass max_iters"):
        strategy.prepare(
            _tiny().TinyModel(), optim_wrapper={**_tiny().ADAMW, "accumulative_counts": 2}
        )


def test_one_method_is_compiled(tmp_path: Path) -> None:
    strategy = SingleDeviceStrategy(work_dir=str(tmp_path))
    options = {"backend": "eager", "target": "forward"}
    [model] = strategy.prepare(_tiny().TinyModel(), compile=options)
    assert options == {"backend": "eager", "target": "forward"}
    expected = model.layers(_tiny().batch(0)["inputs"])
    torch.testing.assert_close(model(**_tiny().batch(0)), expected)
    assert hasattr(model.forward, "_torchdynamo_orig_callable")


def test_a_whole_training_step_can_be_compiled(tmp_path: Path) -> None:
    expected = _tiny().train(_single(tmp_path), range(2))
    strategy = SingleDeviceStrategy(work_dir=str(tmp_path), env_kwargs=SEEDED).setup()
    strategy.prepare(
        _tiny().TinyModel(),
        optim_wrapper=_tiny().ADAMW,
        param_scheduler={"factor": 0.9},
        compile={"backend": "eager"},
    )
    assert hasattr(strategy.model.train_step, "_torchdynamo_orig_callable")
    for name, weight in _tiny().train(strategy, range(2)).items():
        torch.testing.assert_close(weight, expected[name])


class Block(nn.Module):
    """A part that a model repeats."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs + torch.tanh(self.layer(inputs))


def _model_of_blocks() -> Any:
    model = _tiny().TinyModel((4, 2))
    model.layers = nn.Sequential(*(Block() for _ in range(4)), nn.Linear(4, 2))
    return model


def test_repeated_blocks_are_compiled_one_by_one_and_train_alike(tmp_path: Path) -> None:
    compiled: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        compiled.append(graph)
        return graph.forward

    def trained(compile: Any) -> dict[str, torch.Tensor]:
        strategy = SingleDeviceStrategy(work_dir=str(tmp_path), env_kwargs=SEEDED).setup()
        torch.manual_seed(0)
        strategy.prepare(_model_of_blocks(), optim_wrapper=_tiny().ADAMW, compile=compile)
        return _tiny().train(strategy, range(2))

    expected = trained(False)
    weights = trained({"backend": backend, "blocks": {"classes": ["Block"]}})
    assert 1 <= len(compiled) < 4  # what was made for one block serves others
    assert list(weights) == list(expected)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, expected[name])


@pytest.mark.parametrize(
    ("compile", "text"),
    [
        ({"blocks": {"classes": ["Liner"]}}, "Did you mean:  'Linear'"),
        ({"blocks": {"names": ["layers.*"]}, "target": "forward"}, "either blocks or a target"),
    ],
)
def test_blocks_that_are_not_there_are_named(tmp_path: Path, compile: Any, text: str) -> None:
    strategy = SingleDeviceStrategy(work_dir=str(tmp_path))
    with pytest.raises(dist.DistError, match=text):
        strategy.prepare(_tiny().TinyModel(), compile=compile)


def test_a_method_to_compile_that_is_not_there_is_named(tmp_path: Path) -> None:
    strategy = SingleDeviceStrategy(work_dir=str(tmp_path))
    with pytest.raises(dist.StrategyError, match="TinyModel has no method 'predict_step'"):
        strategy.prepare(_tiny().TinyModel(), compile={"target": "predict_step"})


# ---- learning rate ----------------------------------------------------------------------------


def _scaled_lr(folder: Path, auto_scale_lr: Any, batch_size: int | None) -> float:
    strategy = SingleDeviceStrategy(work_dir=str(folder), auto_scale_lr=auto_scale_lr)
    dispatch = {} if batch_size is None else {"train_micro_batch_size_per_gpu": batch_size}
    strategy.prepare(_tiny().TinyModel(), optim_wrapper=_tiny().ADAMW, dispatch_kwargs=dispatch)
    return strategy.optim_wrapper.param_groups[0]["lr"]


def test_the_learning_rate_follows_the_batch_size_when_enabled(tmp_path: Path) -> None:
    assert _scaled_lr(tmp_path, {"enable": True, "base_batch_size": 16}, 64) == pytest.approx(0.04)
    assert _scaled_lr(tmp_path, {"enable": False, "base_batch_size": 16}, 64) == 0.01
    assert _scaled_lr(tmp_path, None, 64) == 0.01


def test_scaling_needs_both_batch_sizes(tmp_path: Path) -> None:
    with pytest.raises(dist.StrategyConfigError, match="base_batch_size is missing"):
        _scaled_lr(tmp_path, {"enable": True}, 64)
    with pytest.raises(dist.StrategyConfigError, match="train_micro_batch_size_per_gpu"):
        _scaled_lr(tmp_path, {"enable": True, "base_batch_size": 16}, None)


def test_scaling_after_the_schedulers_is_refused(tmp_path: Path) -> None:
    strategy = _single(tmp_path)
    with pytest.raises(dist.StrategyError, match="schedulers exist already"):
        strategy.scale_lr(strategy.optim_wrapper, {"enable": True, "base_batch_size": 1}, 2)


# ---- state ------------------------------------------------------------------------------------


def test_a_checkpoint_holds_everything_in_plain_types(tmp_path: Path) -> None:
    strategy = _single(tmp_path)
    _tiny().train(strategy, range(2))
    file = tmp_path / "iter_2.pth"
    extra = {"meta": {"iter": 2}, "message_hub": {"a": 1}}
    strategy.save_checkpoint(str(file), extra_ckpt=extra, callback=lambda c: c.update(added=True))
    saved = torch.load(file, weights_only=True)
    assert set(saved) == {
        "meta", "state_dict", "optimizer", "param_schedulers", "random_state", "message_hub",
        "added",
    }  # fmt: skip
    assert saved["meta"]["iter"] == 2
    assert saved["meta"]["seed"] == 7
    assert saved["meta"]["world_size"] == 1
    assert len(saved["random_state"]) == 1
    assert extra == {"meta": {"iter": 2}, "message_hub": {"a": 1}}


def test_optimizer_and_schedulers_can_be_left_out(tmp_path: Path) -> None:
    strategy = _single(tmp_path)
    file = tmp_path / "weights.pth"
    strategy.save_checkpoint(str(file), save_optimizer=False, save_param_scheduler=False)
    assert not {"optimizer", "param_schedulers"} & set(torch.load(file, weights_only=True))


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Dropout draws from the generator, the schedule from its own count: both must come back."""
    expected = _tiny().train(_single(tmp_path, dropout=0.5), range(6))

    first = _single(tmp_path, dropout=0.5)
    _tiny().train(first, range(3))
    first.save_checkpoint(str(tmp_path / "iter_3.pth"))
    torch.rand(5)
    second = _single(tmp_path, dropout=0.5)
    second.resume(str(tmp_path / "iter_3.pth"))
    assert _equal(_tiny().train(second, range(3, 6)), expected)


def test_the_seed_of_the_checkpoint_is_kept_by_the_resumed_run(tmp_path: Path) -> None:
    _single(tmp_path).save_checkpoint(str(tmp_path / "a.pth"))
    strategy = SingleDeviceStrategy(work_dir=str(tmp_path), env_kwargs={"randomness": {"seed": 99}})
    _prepared(strategy).resume(str(tmp_path / "a.pth"))
    assert strategy.seed == 7


def test_load_checkpoint_takes_weights_only(tmp_path: Path) -> None:
    first = _single(tmp_path)
    weights = _tiny().train(first, range(2))
    first.save_checkpoint(str(tmp_path / "a.pth"))
    second = _single(tmp_path)
    seen = []
    checkpoint = second.load_checkpoint(str(tmp_path / "a.pth"), callback=seen.append)
    assert _equal(second.model_state_dict(), weights)
    assert second.param_schedulers[0].steps == 0
    assert seen == [checkpoint]


def test_loading_before_preparing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(dist.StrategyError, match="call prepare first"):
        SingleDeviceStrategy(work_dir=str(tmp_path)).load_checkpoint("a.pth")


def test_schedulers_of_another_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(dist.StrategyError, match="holds 2 schedulers, this run has 1"):
        _single(tmp_path).load_scheduler_state_dict([{}, {}])


# ---- two ranks --------------------------------------------------------------------------------


def _ddp(folder: str, **options: Any) -> BaseStrategy:
    dropout = options.pop("dropout", 0.0)
    randomness = {"seed": 7, "diff_rank_seed": options.pop("diff_rank_seed", False)}
    strategy = DDPStrategy(work_dir=folder, env_kwargs={"randomness": randomness})
    return _prepared(strategy, dropout=dropout, **options)


def _surroundings(folder: str) -> tuple[Any, ...]:
    strategy = DDPStrategy(work_dir=folder, experiment_name="x")
    return (strategy.timestamp, strategy.seed, strategy.log_dir, strategy.experiment_name), (
        strategy.rank,
        strategy.world_size,
        strategy.distributed,
        os.path.isdir(strategy.log_dir),
    )


def test_ranks_agree_on_time_seed_and_folder(ranks: Any, tmp_path: Path) -> None:
    (shared0, own0), (shared1, own1) = ranks(_surroundings, str(tmp_path))
    assert shared0 == shared1
    assert own0 == (0, 2, True, True)
    assert own1 == (1, 2, True, True)


def _train_ddp(folder: str, options: dict[str, Any]) -> dict[str, Tensor]:
    with _tiny().tiny_builders():
        return _tiny().train(_ddp(folder, **options), range(4))


@pytest.mark.parametrize("options", [{}, {"accumulative_counts": 2}, {"clip_norm": 0.1}], ids=str)
def test_two_ranks_end_where_one_process_ends(ranks: Any, tmp_path: Path, options: Any) -> None:
    """Within 1e-6: the same sums of gradients, in another order."""
    first, second = ranks(_train_ddp, str(tmp_path), options)
    assert _equal(first, second)
    alone = _tiny().train(_single(tmp_path, **options), range(4))
    for name, weight in alone.items():
        torch.testing.assert_close(first[name], weight, rtol=0, atol=1e-6)


def _resume_ddp(folder: str) -> list[bool]:
    with _tiny().tiny_builders():
        options = {"dropout": 0.5, "diff_rank_seed": True}
        expected = _tiny().train(_ddp(folder, **options), range(6))
        first = _ddp(folder, **options)
        _tiny().train(first, range(3))
        first.save_checkpoint(f"{folder}/iter_3.pth")
        torch.rand(5 + dist.get_rank())
        second = _ddp(folder, **options)
        second.resume(f"{folder}/iter_3.pth")
        return [_equal(_tiny().train(second, range(3, 6)), expected)]


def test_two_ranks_resume_to_the_same_bits_each_with_its_own_randomness(
    ranks: Any, tmp_path: Path
) -> None:
    assert ranks(_resume_ddp, str(tmp_path)) == [[True], [True]]
    saved = torch.load(tmp_path / "iter_3.pth", weights_only=True)
    first, second = saved["random_state"]
    assert not torch.equal(first["torch"], second["torch"])
    assert not any(name.startswith("module.") for name in saved["state_dict"])


def _resume_from(file: str) -> tuple[dict[str, Tensor], float]:
    with _tiny().tiny_builders():
        strategy = _ddp(os.path.dirname(file))
        strategy.resume(file)
        return strategy.model_state_dict(), torch.rand(1).item()


def test_a_run_goes_on_with_another_number_of_ranks(ranks: Any, tmp_path: Path) -> None:
    single = _single(tmp_path)
    weights = _tiny().train(single, range(2))
    file = str(tmp_path / "iter_2.pth")
    single.save_checkpoint(file)
    (weights0, number0), (weights1, number1) = ranks(_resume_from, file)
    assert _equal(weights0, weights)
    assert _equal(weights1, weights)
    assert number0 == torch.rand(1).item()  # rank 0 goes on where the one process stood
    assert number1 not in (number0, 0)


def _save_into_nothing(folder: str) -> str:
    with _tiny().tiny_builders():
        strategy = _ddp(folder)
        try:
            strategy.save_checkpoint("/proc/no/such/place.pth")
        except Exception as err:
            return type(err).__name__
    return "saved"


def test_a_failed_save_is_raised_on_every_rank(ranks: Any, tmp_path: Path) -> None:
    first, second = ranks(_save_into_nothing, str(tmp_path))
    assert first not in ("saved", "RankFailedError")
    assert second == "RankFailedError"


def _load_on_one_rank(folder: str) -> str:
    with _tiny().tiny_builders():
        strategy = _ddp(folder)
        name = "there.pth" if dist.get_rank() == 0 else "missing.pth"
        try:
            strategy.load_checkpoint(f"{folder}/{name}")
        except dist.RankFailedError as err:
            return f"rank {err.rank}"
        except OSError:
            return "missing"
    return "loaded"


def test_a_checkpoint_missing_on_one_rank_ends_all(ranks: Any, tmp_path: Path) -> None:
    _single(tmp_path).save_checkpoint(str(tmp_path / "there.pth"))
    assert ranks(_load_on_one_rank, str(tmp_path)) == ["rank 1", "missing"]


def _wrapped_as(folder: str, model_wrapper: Any, sync_bn: str | None) -> tuple[Any, ...]:
    with _tiny().tiny_builders():
        strategy = DDPStrategy(work_dir=folder, model_wrapper=model_wrapper, sync_bn=sync_bn)
        model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        [wrapped] = strategy.prepare(model)
        norm = type(wrapped.module[1]).__name__
        return type(wrapped).__name__, wrapped.find_unused_parameters, norm


def test_the_wrapper_and_its_batch_norm_are_as_configured(ranks: Any, tmp_path: Path) -> None:
    folder = str(tmp_path)
    expected = ("MMDistributedDataParallel", False, "BatchNorm1d")
    assert ranks(_wrapped_as, folder, None, None)[0] == expected
    expected = ("MMDistributedDataParallel", True, "PortableSyncBatchNorm")
    assert ranks(_wrapped_as, folder, {"find_unused_parameters": True}, "portable")[0] == expected
    expected = ("DistributedDataParallel", False, "BatchNorm1d")
    assert ranks(_wrapped_as, folder, {"type": "DistributedDataParallel"}, None)[0] == expected


def _torch_sync_bn(folder: str) -> str:
    try:
        DDPStrategy(work_dir=folder, sync_bn="torch").prepare(nn.BatchNorm1d(2))
    except dist.StrategyConfigError as err:
        return str(err)
    return ""


@pytest.mark.skipif(torch.accelerator.is_available(), reason="an accelerator is here")
def test_a_batch_norm_that_cannot_train_here_is_refused_with_one_that_can(
    ranks: Any, tmp_path: Path
) -> None:
    assert all("sync_bn='portable'" in text for text in ranks(_torch_sync_bn, str(tmp_path)))


def test_a_checkpoint_of_another_model_is_refused_with_names_of_both(tmp_path: Path) -> None:
    _single(tmp_path).save_checkpoint(str(tmp_path / "a.pth"))
    other = SingleDeviceStrategy(work_dir=str(tmp_path))
    other.prepare(nn.Linear(3, 3))
    with pytest.raises(dist.StrategyError, match=r"of another model.*\n.*layers\.0\.weight"):
        other.load_checkpoint(str(tmp_path / "a.pth"))

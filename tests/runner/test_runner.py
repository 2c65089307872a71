"""Runner and FlexibleRunner: arguments, lazy building, what contradicts itself."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from drivetrain.config import Config
from drivetrain.dist import StrategyConfigError
from drivetrain.dist.strategy import SingleDeviceStrategy
from drivetrain.evaluator import Evaluator
from drivetrain.optim import MultiStepLR, OptimWrapper
from drivetrain.registry import LOOPS, RUNNERS, CheckError, DefaultScope
from drivetrain.runner import (
    BaseLoop,
    EpochBasedTrainLoop,
    FlexibleRunner,
    IterBasedTrainLoop,
    LogProcessor,
    MissingPartError,
    Runner,
    RunnerConfigError,
)


def test_nothing_but_the_model_is_built_before_it_is_needed(make_runner) -> None:
    runner = make_runner()
    assert isinstance(runner._train_loop, dict)
    assert isinstance(runner.model, torch.nn.Module)
    assert isinstance(runner.train_dataloader, DataLoader)
    assert isinstance(runner._train_loop, EpochBasedTrainLoop)


def test_train_returns_the_model_and_val_the_metrics(make_runner) -> None:
    runner = make_runner()
    assert runner.train() is runner.model
    assert set(runner.val()) == {"acc"}


def test_a_runner_that_only_validates_needs_no_training_parts(make_runner) -> None:
    runner = make_runner(
        train_dataloader=None, train_cfg=None, optim_wrapper=None, param_scheduler=None
    )
    assert 0.0 <= runner.val()["acc"] <= 1.0


@pytest.mark.parametrize("stage", ["train", "val", "test"])
def test_a_stage_without_its_parts_says_what_is_missing(make_runner, stage) -> None:
    names = "train_dataloader train_cfg optim_wrapper param_scheduler"
    nothing = dict.fromkeys(f"{names} val_dataloader val_cfg val_evaluator".split())
    runner = make_runner(**nothing)
    with pytest.raises(MissingPartError, match=f"{stage}_dataloader"):
        getattr(runner, stage)()


CONTRADICTIONS = {
    "training data without an optimizer": (
        {"optim_wrapper": None, "param_scheduler": None},
        "Missing: optim_wrapper",
    ),
    "validation without a metric": ({"val_evaluator": None}, "Missing: val_evaluator"),
    "test loop without data": ({"test_cfg": {}}, "Missing: test_dataloader"),
    "scheduler without an optimizer": (
        {"optim_wrapper": None, "train_cfg": None, "train_dataloader": None},
        "param_scheduler needs an optim_wrapper",
    ),
}


@pytest.mark.parametrize(("changes", "text"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_parts_that_do_not_go_together_are_refused(make_runner, changes, text) -> None:
    with pytest.raises(RunnerConfigError, match=text):
        make_runner(**changes)


LOOP_MISTAKES = {
    "neither type nor by_epoch": ({"max_epochs": 1}, "by_epoch"),
    "type and by_epoch": (
        {"type": "EpochBasedTrainLoop", "by_epoch": True, "max_epochs": 1},
        "not both",
    ),
    "half an epoch": ({"by_epoch": True, "max_epochs": 0.5}, "max_epochs"),
    "no interval": ({"by_epoch": True, "max_epochs": 1, "val_interval": 0}, "val_interval"),
}


@pytest.mark.parametrize(("train_cfg", "text"), LOOP_MISTAKES.values(), ids=LOOP_MISTAKES)
def test_a_loop_config_that_makes_no_sense_is_refused(make_runner, train_cfg, text) -> None:
    with pytest.raises(ValueError, match=text):
        make_runner(train_cfg=train_cfg).train()


def test_zero_epochs_train_nothing_and_end(make_runner) -> None:
    runner = make_runner(train_cfg={"by_epoch": True, "max_epochs": 0})
    runner.train()
    assert runner.iter == 0


def test_an_empty_loader_says_why_it_is_empty(make_runner, points, loader_of) -> None:
    short = loader_of(dataset=points(length=3), drop_last=True)
    with pytest.raises(ValueError, match="3 samples, batch_size is 4, drop_last is True"):
        make_runner(train_dataloader=short).train()


def test_the_work_dir_holds_config_logs_and_checkpoints(make_runner, tmp_path) -> None:
    runner = make_runner(cfg=Config({"a": 1}))
    runner.train()
    work_dir = tmp_path / "work"
    assert (work_dir / f"{runner.timestamp}.py").read_text().strip() == "a = 1"
    assert (work_dir / runner.timestamp / f"{runner.timestamp}.log").is_file()
    assert (work_dir / "last_checkpoint").read_text().strip().endswith("epoch_2.pth")


def test_two_runners_of_one_second_share_nothing(make_runner) -> None:
    first, second = make_runner(), make_runner()
    assert first.message_hub is not second.message_hub
    assert first.visualizer is not second.visualizer


def test_data_preprocessor_goes_into_a_model_config_that_has_none(make_runner) -> None:
    from drivetrain.registry import MODELS

    @MODELS.register_module(force=True)
    class Keeps(torch.nn.Module):
        def __init__(self, data_preprocessor=None) -> None:
            super().__init__()
            self.kept = data_preprocessor

    node = {"type": "BaseDataPreprocessor"}
    assert make_runner(model={"type": "Keeps"}, data_preprocessor=node).model.kept == node
    own = {"type": "Keeps", "data_preprocessor": "mine"}
    assert make_runner(model=own, data_preprocessor=node).model.kept == "mine"


def test_from_cfg_builds_what_the_config_says(tmp_path, classifier, points) -> None:
    cfg = Config(
        {
            "model": {"type": classifier},
            "work_dir": str(tmp_path),
            "train_cfg": {"by_epoch": False, "max_iters": 3},
            "train_dataloader": {
                "dataset": {"type": points},
                "batch_size": 4,
                "sampler": {"type": "InfiniteSampler"},
                "collate_fn": {"type": "default_collate"},
            },
            "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}},
            "log_processor": {"by_epoch": False},
        }
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert isinstance(runner.train_loop, IterBasedTrainLoop)
    assert runner.iter == 3


def test_from_cfg_names_every_mistake_before_anything_is_built(tmp_path) -> None:
    cfg = {
        "model": {"type": "NoSuchNet"},
        "work_dir": str(tmp_path / "never"),
        "custom_hooks": [{"type": "EMAHok"}],
        "test_evaluator": {"type": "Acuracy"},
    }
    with pytest.raises(CheckError) as caught:
        Runner.from_cfg(cfg)
    assert all(name in str(caught.value) for name in ("NoSuchNet", "EMAHok", "Acuracy"))
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("key", ["model", "work_dir"])
def test_from_cfg_says_which_key_is_missing(tmp_path, key) -> None:
    cfg = {"model": {"type": "Net"}, "work_dir": str(tmp_path)}
    del cfg[key]
    with pytest.raises(RunnerConfigError, match=key):
        Runner.from_cfg(cfg)


def test_runner_type_chooses_a_class_of_the_users(tmp_path) -> None:
    from drivetrain.registry import build_runner_from_cfg

    @RUNNERS.register_module(force=True)
    class MyRunner(Runner):
        pass

    model = torch.nn.Linear(1, 1)
    runner = build_runner_from_cfg(
        {"runner_type": "MyRunner", "model": model, "work_dir": str(tmp_path)}, RUNNERS
    )
    assert type(runner) is MyRunner


@pytest.mark.parametrize("shape", ["object", "metric", "list", "metrics", "node"])
def test_an_evaluator_may_be_given_in_every_documented_form(make_runner, accuracy, shape) -> None:
    forms = {
        "object": Evaluator(accuracy()),
        "metric": accuracy(),
        "list": [{"type": accuracy}],
        "metrics": {"metrics": [accuracy()]},
        "node": {"type": "Evaluator", "metrics": {"type": accuracy}},
    }
    evaluator = make_runner().build_evaluator(forms[shape])
    assert isinstance(evaluator, Evaluator)
    assert [type(m) for m in evaluator.metrics] == [accuracy]


def test_build_log_processor_takes_nodes_objects_and_custom_classes(make_runner) -> None:
    runner = make_runner()
    mine = LogProcessor(window_size=3)
    assert runner.build_log_processor(mine) is mine
    assert runner.build_log_processor({"num_digits": 2}).num_digits == 2
    with pytest.raises(TypeError, match="log_processor"):
        runner.build_log_processor(5)


def test_a_custom_loop_invents_its_own_points(make_runner) -> None:
    @LOOPS.register_module(force=True)
    class Thrice(BaseLoop):
        def run(self):
            for _ in range(3):
                self.runner.call_hook("between_nothing")
            return self.runner.model

        iter = epoch = 0
        max_epochs = max_iters = 1

    runner = make_runner(train_cfg={"type": "Thrice"}, param_scheduler=None)
    runner.train()
    assert isinstance(runner.train_loop, Thrice)


def test_strings_of_resume_name_a_checkpoint(make_runner, tmp_path) -> None:
    make_runner().train()
    path = str(tmp_path / "work" / "epoch_1.pth")
    runner = make_runner(resume=True, load_from=path)
    runner.load_or_resume()
    assert (runner.epoch, runner.iter) == (1, 5)


# ------------------------------------------------------------------ FlexibleRunner


@pytest.fixture
def flexible(tmp_path, classifier, loader_of, accuracy):
    def make(**changes):
        torch.manual_seed(1)
        arguments = {
            "model": classifier(),
            "work_dir": str(tmp_path / "flexible"),
            "train_dataloader": loader_of(),
            "train_cfg": {"by_epoch": True, "max_epochs": 2},
            "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
            "param_scheduler": [
                {"type": "LinearLR", "start_factor": 0.1, "end": 8, "by_epoch": False}
            ],
            "val_dataloader": loader_of(sampler={"type": "DefaultSampler", "shuffle": False}),
            "val_cfg": {},
            "val_evaluator": {"type": accuracy},
            "randomness": {"seed": 3},
            **changes,
        }
        return FlexibleRunner(**arguments)

    return make


def test_both_faces_of_the_engine_train_to_the_same_bits(make_runner, flexible) -> None:
    left, right = make_runner().train().state_dict(), flexible().train().state_dict()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_the_model_config_stays_unbuilt_until_it_is_needed(flexible, classifier) -> None:
    runner = flexible(model={"type": classifier})
    assert runner.model == {"type": classifier}
    runner.val()
    assert isinstance(runner.model, classifier)


@pytest.mark.parametrize("form", [None, "SingleDeviceStrategy", {"type": "SingleDeviceStrategy"}])
def test_a_strategy_may_be_left_out_named_or_configured(flexible, form) -> None:
    strategy = flexible(strategy=form).strategy
    assert type(strategy) is SingleDeviceStrategy
    assert Path(strategy.work_dir).name == "flexible"


def test_resume_as_a_path_together_with_load_from_is_refused(flexible) -> None:
    with pytest.raises(ValueError, match="two checkpoints"):
        flexible(resume="a.pth", load_from="b.pth")


@pytest.mark.parametrize(
    ("changes", "text"), [({"compile": 3}, "compile"), ({"strategy": 3}, "strategy")]
)
def test_arguments_of_the_wrong_type_are_refused(flexible, changes, text) -> None:
    with pytest.raises(TypeError, match=text):
        flexible(**changes)


def test_a_flexible_run_is_resumed_from_a_path(flexible, tmp_path) -> None:
    flexible().train()
    runner = flexible(resume=str(tmp_path / "flexible" / "epoch_1.pth"))
    runner.train()
    assert runner.iter == 10


def test_a_config_that_holds_objects_is_written_down_with_their_repr(make_runner, tmp_path) -> None:
    runner = make_runner(cfg=Config({"model": torch.nn.Linear(1, 2), "a": [1, {"b": (2, None)}]}))
    dumped = (tmp_path / "work" / f"{runner.timestamp}.py").read_text()
    assert "Linear(in_features=1, out_features=2, bias=True)" in dumped
    assert "a = [1, dict(b=(2, None))]" in dumped


def test_a_model_without_a_training_step_is_refused_with_the_way_out(make_runner) -> None:
    with pytest.raises(RuntimeError, match=r"Linear has no train_step\(\)(.|\n)*BaseModel"):
        make_runner(model=torch.nn.Linear(4, 2)).train()


def test_a_runner_of_ones_own_may_add_to_the_environment(tmp_path) -> None:
    class MyRunner(Runner):
        def setup_env(self, env_cfg) -> None:
            super().setup_env(env_cfg)
            self.seen = env_cfg

    def seen(**options) -> dict:
        return MyRunner(torch.nn.Linear(1, 1), str(tmp_path), **options).seen

    assert seen(env_cfg={"resource_limit": 2048}) == {"resource_limit": 2048}
    assert seen() == {}


def test_set_randomness_seeds_again(make_runner) -> None:
    runner = make_runner()
    runner.set_randomness(11)
    first = torch.rand(1)
    runner.set_randomness(11)
    assert torch.equal(torch.rand(1), first)
    assert runner.seed == 11


def test_build_logger_gives_one_that_writes_where_it_is_told(make_runner, tmp_path) -> None:
    logger = make_runner().build_logger(log_level="DEBUG", log_file=str(tmp_path / "mine.log"))
    logger.debug("hello")
    assert "hello" in (tmp_path / "mine.log").read_text()


def test_a_strategy_that_runner_would_not_use_is_refused(tmp_path) -> None:
    cfg = {"model": {"type": "x"}, "work_dir": str(tmp_path), "strategy": {"type": "DDPStrategy"}}
    with pytest.raises(RunnerConfigError, match="runner_type = 'FlexibleRunner'"):
        Runner.from_cfg(cfg)


@pytest.mark.parametrize("stage", ["val", "test"])
def test_a_model_that_cannot_be_evaluated_is_refused_by_name(
    make_runner, loader_of, accuracy, stage
) -> None:
    parts = {
        f"{stage}_dataloader": loader_of(sampler={"type": "DefaultSampler", "shuffle": False}),
        f"{stage}_cfg": {},
        f"{stage}_evaluator": {"type": accuracy},
    }
    runner = make_runner(model=nn.Linear(4, 2), **parts)
    with pytest.raises(MissingPartError, match=f"Linear has no {stage}_step"):
        getattr(runner, stage)()


def test_learning_rates_scale_by_the_size_that_a_batch_sampler_makes(make_runner, points) -> None:
    data = points()
    batches = BatchSampler(SequentialSampler(data), 5, drop_last=False)
    runner = make_runner(train_dataloader=DataLoader(data, batch_sampler=batches))
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(wrapper, {"enable": True, "base_batch_size": 10})
    assert wrapper.get_lr() == {"lr": [0.05]}


class _Stream(IterableDataset):
    """Data without a length."""

    def __iter__(self):
        return iter([{"x": torch.ones(4), "y": torch.tensor(1)}] * 12)


def test_schedulers_are_built_for_data_without_a_length(make_runner) -> None:
    runner = make_runner(
        train_dataloader=DataLoader(_Stream(), batch_size=4),
        train_cfg={"by_epoch": False, "max_iters": 3},
    )
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    (schedule,) = runner.build_param_scheduler({"type": "LinearLR", "by_epoch": False})
    assert schedule.end == 3


def test_schedulers_that_were_built_before_the_rates_are_scaled_are_refused(
    make_runner, classifier
) -> None:
    """They would go back to the rates that they were made with."""
    model = classifier()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))

    def train(base_batch_size: int) -> None:
        scale = {"enable": True, "base_batch_size": base_batch_size}
        parts = {"model": model, "optim_wrapper": wrapper, "auto_scale_lr": scale}
        schedule = [MultiStepLR(wrapper, milestones=[1])]
        make_runner(**parts, param_scheduler=schedule).train()

    train(base_batch_size=4)
    with pytest.raises(RuntimeError, match="a scheduler was built before"):
        train(base_batch_size=2)


def test_a_runner_of_ones_own_builds_and_wraps_in_its_own_way(make_runner) -> None:
    """What a subclass overrides is called, with the parts before it ready, and only once."""
    calls = []

    class Own(Runner):
        def wrap_model(self, model_wrapper_cfg, model):
            calls.append("model")
            return super().wrap_model(model_wrapper_cfg, model)

        def build_optim_wrapper(self, optim_wrapper):
            calls.append("optimizer")
            return super().build_optim_wrapper({**optim_wrapper, "accumulative_counts": 2})

        def build_param_scheduler(self, scheduler):
            calls.append(self.optim_wrapper.param_groups[0]["lr"])
            return super().build_param_scheduler(scheduler)

    sgd = {"optimizer": {"type": "SGD", "lr": 0.1}}
    arguments = {"auto_scale_lr": {"enable": True, "base_batch_size": 2}}
    usual = make_runner(**arguments, optim_wrapper={**sgd, "accumulative_counts": 2})
    expected = usual.train().state_dict()
    found = make_runner(Own, **arguments, optim_wrapper=sgd).train().state_dict()
    assert calls == ["model", "optimizer", 0.2]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", [Runner, FlexibleRunner])
def test_a_config_may_leave_the_scope_of_names_as_it_is(kind, tmp_path, classifier) -> None:
    cfg = {"model": classifier(), "work_dir": str(tmp_path)}
    without = kind.from_cfg({**cfg, "default_scope": None})
    assert not DefaultScope.check_instance_created(without.experiment_name)
    assert without.default_scope is None
    named = kind.from_cfg(cfg)
    assert DefaultScope.check_instance_created(named.experiment_name)
    assert named.default_scope.scope_name == "drivetrain"


def test_a_checkpoint_shows_the_epoch_that_its_writer_gives(make_runner, tmp_path) -> None:
    runner = make_runner()
    runner.train()
    path = runner.save_checkpoint(str(tmp_path), "mine.pth", meta={"epoch": 100, "note": "mine"})
    saved = torch.load(path, weights_only=True)
    assert (saved["meta"]["epoch"], saved["meta"]["note"]) == (100, "mine")
    resumed = make_runner(load_from=path, resume=True)
    resumed.load_or_resume()
    assert (resumed.epoch, resumed.iter) == (2, 10)


SETTINGS = {
    "number for a dict": ({"randomness": 3}, "randomness is a dict of seed"),
    "key of mp_cfg": ({"env_cfg": {"mp_cfg": {"start_method": "fork"}}}, "mp_start_method"),
    "way to start workers": (
        {"env_cfg": {"mp_cfg": {"mp_start_method": "frok"}}},
        "'forkserver' or None, got 'frok'",
    ),
    "number to scale by": ({"auto_scale_lr": 8}, "auto_scale_lr is a dict of enable"),
    "key of auto_scale_lr": (
        {"auto_scale_lr": {"enable": True, "base_batch_sise": 8}},
        "Did you mean:  'base_batch_size'",
    ),
    "batch of nothing": (
        {"auto_scale_lr": {"enable": True, "base_batch_size": 0}},
        "no whole number from 1 on: 0",
    ),
}


@pytest.mark.parametrize(("changes", "text"), SETTINGS.values(), ids=SETTINGS)
def test_a_setting_that_nobody_can_follow_is_refused_by_name(make_runner, changes, text) -> None:
    with pytest.raises((StrategyConfigError, ValueError), match=text):
        make_runner(**changes).train()


def test_a_loop_of_ones_own_needs_no_more_than_run(make_runner, tmp_path) -> None:
    @LOOPS.register_module(force=True)
    class Once(BaseLoop):
        def run(self):
            for batch in self.dataloader:
                self.runner.model.train_step(batch, self.runner.optim_wrapper)
            return self.runner.model

    runner = make_runner(train_cfg={"type": "Once"}, param_scheduler=None)
    before = runner.model.layers[0].weight.detach().clone()
    assert not torch.equal(runner.train().layers[0].weight, before)
    assert Path(runner.save_checkpoint(str(tmp_path), "once.pth")).is_file()


def test_a_strategy_that_was_made_already_says_which_arguments_it_does_not_get(
    tmp_path, classifier
) -> None:
    own, other = str(tmp_path / "own"), str(tmp_path / "other")
    strategy = SingleDeviceStrategy(work_dir=own)
    runner = FlexibleRunner(
        classifier(), strategy=strategy, work_dir=other, randomness={"seed": 3}, launcher="none"
    )
    log = next(Path(runner.log_dir).glob("*.log")).read_text()
    assert "Not used: work_dir, randomness. The strategy is an object" in log
    quiet = FlexibleRunner(classifier(), strategy=SingleDeviceStrategy(work_dir=own), work_dir=own)
    assert "Not used" not in next(Path(quiet.log_dir).glob("*.log")).read_text()


def test_both_runners_show_all_their_arguments_and_share_their_defaults() -> None:
    runner, flexible = (inspect.signature(cls).parameters for cls in (Runner, FlexibleRunner))
    assert list(runner)[:3] == ["model", "work_dir", "train_dataloader"]
    assert flexible.keys() - runner.keys() == {"strategy", "compile"}
    assert runner.keys() <= flexible.keys()
    differing = {n for n in runner if runner[n].default != flexible[n].default}
    assert differing == {"work_dir", "launcher"}
    assert {p.kind for n, p in flexible.items() if n != "model"} == {inspect.Parameter.KEYWORD_ONLY}


def test_an_argument_that_no_runner_has_is_refused(classifier) -> None:
    for build in (Runner, FlexibleRunner):
        with pytest.raises(TypeError, match="traincfg"):
            build(classifier(), work_dir="unused", traincfg={})

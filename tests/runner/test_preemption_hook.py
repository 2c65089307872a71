"""Saving in time when a scheduler wants the machine back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch

from drivetrain.runner import Preempted, TrainingInterrupted
from drivetrain.runner.hooks import Hook, InterruptHook, PreemptionHook


class SignalAt(Hook):
    """Send this process a signal in the middle of an iteration, several times if asked to."""

    def __init__(self, iteration: int, signum: int, times: int = 1) -> None:
        self.iteration, self.signum, self.times = iteration, signum, times

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter + 1 == self.iteration:
            for _ in range(self.times):
                os.kill(os.getpid(), self.signum)


def weights(runner) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_preempted_run_goes_on_bit_for_bit(make_runner, tmp_path, name) -> None:
    whole = make_runner(work_dir=str(tmp_path / "whole"))
    whole.train()
    signum = getattr(signal, name)
    before = signal.getsignal(signum)
    first = make_runner(custom_hooks=[{"type": "PreemptionHook"}, SignalAt(7, signum)])
    with pytest.raises(Preempted) as stop:
        first.train()
    assert (stop.value.signum, stop.value.code) == (signum, 143)
    assert signal.getsignal(signum) is before
    second = make_runner(resume=True)
    second.train()
    for key, value in weights(whole).items():
        assert torch.equal(weights(second)[key], value), key


def test_the_log_says_what_happened_and_what_to_do(make_runner, tmp_path) -> None:
    runner = make_runner(custom_hooks=[PreemptionHook(), SignalAt(3, signal.SIGTERM)])
    with pytest.raises(Preempted):
        runner.train()
    log = next((tmp_path / "work").rglob("*.log")).read_text()
    assert "SIGTERM: preempted; the state will be saved after this step." in log
    assert "interrupted_iter_3.pth. Resume to go on from there." in log


def test_a_repeated_signal_does_not_cut_off_the_checkpoint(make_runner) -> None:
    hooks = [PreemptionHook(), SignalAt(4, signal.SIGTERM, times=3)]
    with pytest.raises(Preempted) as stop:
        make_runner(custom_hooks=hooks).train()
    assert torch.load(stop.value.checkpoint, weights_only=True)["progress"]["iter"] == 4


def test_a_signal_stays_with_the_first_hook_that_listens_to_it(make_runner) -> None:
    hooks = [PreemptionHook(), InterruptHook(), SignalAt(2, signal.SIGTERM)]
    with pytest.raises(Preempted):
        make_runner(custom_hooks=hooks).train()


def test_the_exit_code_and_the_signals_can_be_chosen(make_runner) -> None:
    hook = PreemptionHook(signals="SIGUSR2", exit_code=75)
    with pytest.raises(Preempted) as stop:
        make_runner(custom_hooks=[hook, SignalAt(2, signal.SIGUSR2)]).train()
    assert stop.value.exit_code == 75


def test_a_script_that_does_not_catch_it_ends_with_143() -> None:
    script = "from drivetrain.runner import Preempted; raise Preempted(10, 'x.pth')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (143, "")


def test_an_interrupt_ends_with_the_number_of_its_signal() -> None:
    assert TrainingInterrupted(signal.SIGINT, None).exit_code == 130


@pytest.mark.parametrize("hook", [InterruptHook, PreemptionHook], ids=lambda hook: hook.__name__)
def test_an_agreement_that_never_comes_is_refused(hook) -> None:
    with pytest.raises(ValueError, match=f"{hook.__name__}: agree_every_iters"):
        hook(agree_every_iters=0)

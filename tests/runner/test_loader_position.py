"""Loaders that the engine did not build go on where they were, too."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from drivetrain.runner import Progress
from drivetrain.runner._loader_position import loader_state, open_epoch


class Counted(torch.utils.data.Dataset):
    """Numbers, and how often one was loaded."""

    def __init__(self, length: int = 12) -> None:
        self.length = length
        self.loaded = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        self.loaded += 1
        return index


class Stream(IterableDataset):
    """Numbers that only reading brings."""

    def __iter__(self) -> Any:
        return iter(range(12))


class ShuffledByPython:
    """A sampler that draws from Python's generator, which a run must restore as well."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Any:
        order = list(range(self.length))
        random.shuffle(order)
        return iter(order)


class Remembering(DataLoader):
    """A loader with a state of its own, as torchdata's; counts what it is asked for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.given = 0
        self._skip = 0

    def state_dict(self) -> dict[str, int]:
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._skip = state["given"]

    def __iter__(self) -> Any:
        self.given, skip, self._skip = self._skip, self._skip, 0
        for number, batch in enumerate(super().__iter__()):
            if number >= skip:
                self.given += 1
                yield batch


def batches_of(loader: DataLoader, progress: Progress, number: int | None = None) -> list[Any]:
    """The next batches of ``progress``, which moves with them."""
    found = []
    for batch in open_epoch(loader, progress):
        found.append(batch.tolist())
        progress.batch_in_epoch += 1
        if len(found) == number:
            break
    return found


def taken_up(make: Any) -> tuple[list[Any], list[Any], Any]:
    """What is left of an epoch after two batches: uninterrupted, and in another process."""
    torch.manual_seed(1)
    random.seed(1)
    first, progress = make(), Progress()
    whole = batches_of(first, progress)
    torch.manual_seed(1)
    random.seed(1)
    second, progress = make(), Progress()
    batches_of(second, progress, 2)
    state = loader_state(second, progress)
    torch.manual_seed(2)
    random.seed(2)
    third = make()
    resumed = Progress(iter=2, batch_in_epoch=2, loader=state)
    return whole[2:], batches_of(third, resumed), third


LOADERS = {
    "shuffled": lambda: DataLoader(Counted(), batch_size=2, shuffle=True),
    "shuffled, with workers": lambda: DataLoader(
        Counted(), batch_size=2, shuffle=True, num_workers=1
    ),
    "a sampler of one's own": lambda: DataLoader(
        Counted(), batch_size=2, sampler=ShuffledByPython(12)
    ),
    "a stream": lambda: DataLoader(Stream(), batch_size=2),
    "a loader with a state": lambda: Remembering(Counted(), batch_size=2),
}


@pytest.mark.parametrize("kind", LOADERS, ids=lambda name: name.replace(" ", "-"))
def test_a_loader_goes_on_after_the_last_batch_that_was_used(kind) -> None:
    expected, found, _ = taken_up(LOADERS[kind])
    assert found == expected
    assert len(found) == 4


def test_passing_over_batches_loads_none_of_them() -> None:
    *_, loader = taken_up(LOADERS["shuffled"])
    assert loader.dataset.loaded == 8


def test_between_two_epochs_a_loader_with_a_state_begins_anew() -> None:
    """Its state stands at the end of the last epoch: taken up, it would give nothing."""
    loader, progress = Remembering(Counted(), batch_size=2), Progress()
    batches_of(loader, progress)
    assert loader_state(loader, Progress(epoch=1)) is None


def test_torchdatas_loader_goes_on_from_its_own_state() -> None:
    torchdata = pytest.importorskip("torchdata.stateful_dataloader")
    expected, found, _ = taken_up(
        lambda: torchdata.StatefulDataLoader(Counted(), batch_size=2, shuffle=True)
    )
    assert found == expected


@pytest.mark.parametrize("sampler", ["DefaultSampler", "InfiniteSampler"])
def test_resuming_at_step_1_000_000_takes_no_longer_than_at_step_1(
    make_runner, loader_of, points, sampler
) -> None:
    """Nothing is counted up to there: CPU time of a whole resume, with its first step."""
    loader = loader_of(dataset=points(5000), sampler={"type": sampler, "shuffle": True})
    loop = {"by_epoch": False, "val_interval": 10**9}
    parts = {"train_dataloader": loader, "val_dataloader": None, "val_cfg": None}
    parts |= {"val_evaluator": None, "log_processor": {"by_epoch": False}}
    spent_s = {}
    for step in (1, 1_000_000):
        runner = make_runner(**parts, train_cfg={**loop, "max_iters": step})
        runner.train_loop.load_progress(_progress(step, endless=sampler == "InfiniteSampler"))
        runner._prepare(training=True)
        name = f"iter_{step}.pth"
        runner.save_checkpoint(runner.work_dir, name)
        resumed = make_runner(
            **parts,
            train_cfg={**loop, "max_iters": step + 1},
            load_from=f"{runner.work_dir}/{name}",
            resume=True,
        )
        start_s = time.process_time()
        resumed.train()
        spent_s[step] = time.process_time() - start_s
        assert resumed.iter == step + 1
    assert spent_s[1_000_000] < spent_s[1] + 0.3


def _progress(step: int, endless: bool) -> Progress:
    """Batches of 4 from 5,000 samples: 1,250 a pass."""
    if endless:
        return Progress(iter=step, batch_in_epoch=step)
    return Progress(iter=step, epoch=step // 1250, batch_in_epoch=step % 1250)

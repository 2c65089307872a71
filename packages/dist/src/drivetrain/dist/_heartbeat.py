"""A sign of life of the training, and a watch over the signs of all ranks.

A loop says ``beat()`` now and then. A thread of each rank looks every few seconds whether it did.
When a rank stands still for too long while others wait for it, it is named: with what it was
doing, since when, and its stack; and the ranks end, instead of waiting for each other for ever.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import NoReturn

from torch.distributed import Store

from drivetrain.dist._bell import failed_first
from drivetrain.dist._failure import record_failure
from drivetrain.dist._flight_record import last_collectives
from drivetrain.dist._phase import main_thread_activity

_TOLD = "told"
_MAX_POLL_S = 2.0
#: How long a rank whose fellow failed may still need to end by itself.
_GRACE_S = 4.0
#: A store that answers does so in milliseconds; one that does not is not waited for.
_END_TIMEOUT_S = 5.0


class Pulse:
    """How often the training has shown that it goes on; written by it, read by the watch."""

    __slots__ = ("beats", "is_resting", "stage")

    def __init__(self) -> None:
        self.beats = 0
        self.is_resting = False
        self.stage = "start"


PULSE = Pulse()
_watch: HangWatch | None = None


def beat(stage: str | None = None) -> None:
    """Say that this rank goes on; for hand-written loops, once an iteration.

    The engine's own loops do so. Costs 0.1 microseconds. From the first call on, the ranks of
    ``init_dist`` are watched: see its ``hang_timeout``.

    Args:
        stage: What a report should say this rank was in, e.g. ``'training'``; kept when left out.
    """
    PULSE.beats += 1
    if stage is not None:
        PULSE.stage = stage
        PULSE.is_resting = False
    if _watch is not None and not _watch.is_started:
        _watch.begin()


def pause_watch() -> None:
    """Say that no loop runs from here on; the watch goes on with the next ``beat(stage)``."""
    PULSE.is_resting = True


@dataclass
class Stall:
    """A rank that has not moved for too long."""

    rank: int
    stage: str
    phase: str
    is_waiting: bool
    since: float
    stack: str
    collectives: str

    def headline(self) -> str:
        """One line: where it stands, and since when."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"in {self.stage}, phase {self.phase}, since {when} ({self.age_s():.0f} s)"

    def age_s(self) -> float:
        """Seconds since it last moved."""
        return time.time() - self.since


class HangWatch(threading.Thread):
    """Watches the pulse of this rank, and compares with the other ranks when it stops.

    Args:
        store: What all ranks see; a connection that nothing else uses.
        rank: This rank.
        world_size: How many there are.
        timeout_s: How long a rank may stand still.
    """

    def __init__(self, store: Store, rank: int, world_size: int, timeout_s: float) -> None:
        super().__init__(name="drivetrain-hang-watch", daemon=True)
        self.is_started = False
        self._store = store
        self._rank = rank
        self._others = [other for other in range(world_size) if other != rank]
        self._timeout_s = timeout_s
        self._poll_s = min(_MAX_POLL_S, timeout_s / 20)
        self._over = threading.Event()
        self._polls = 0
        self._seen = -1
        self._moved = time.time()
        self._warned_at = -1

    def begin(self) -> None:
        """Start watching."""
        self.is_started = True
        self.start()

    def end(self) -> None:
        """Stop watching, and wait until nobody does; this rank is about to leave.

        A thread that comes back from the store while the interpreter ends is cut off in the middle
        of C++, which aborts the whole process (SIGABRT) instead of giving its exit code.
        """
        self._over.set()
        if self.is_alive():
            self.join(_END_TIMEOUT_S)

    def run(self) -> None:
        """Look at the pulse until the end."""
        try:
            while not self._over.wait(self._poll_s):
                self._look()
        except RuntimeError:
            # The store went with the rank that kept it. Whoever waits for that rank sees it leave.
            return

    def _look(self) -> None:
        self._polls += 1
        self._store.set(f"sign/{self._rank}", str(self._polls))
        if failed_first() is not None:
            self._leave_behind()
        beats = PULSE.beats
        if beats != self._seen or PULSE.is_resting:
            self._seen, self._moved = beats, time.time()
        elif time.time() - self._moved >= self._timeout_s and self._warned_at != beats:
            self._compare()

    def _leave_behind(self) -> None:
        """Another rank failed: end this one, should it wait for that one for ever."""
        if not self._over.wait(_GRACE_S):
            _exit_now()

    def _compare(self) -> None:
        """This rank stands: find out which rank is to blame, and let one of them tell."""
        own = self._own_stall()
        self._store.set(f"stall/{self._rank}", json.dumps(asdict(own)))
        signs = {other: self._sign(other) for other in self._others}
        # The others find out within a poll or two, if they stand too.
        if self._over.wait(3 * self._poll_s) or PULSE.beats != self._seen:
            self._store.delete_key(f"stall/{self._rank}")
            return
        stalls = [own, *(stall for stall in map(self._stall, self._others) if stall)]
        stalled = {stall.rank for stall in stalls}
        silent = [r for r in self._others if r not in stalled and self._sign(r) == signs[r]]
        culprits = [stall for stall in stalls if not stall.is_waiting]
        waiting = [stall for stall in stalls if stall.is_waiting]
        if not culprits and not silent:
            if len(stalls) <= len(self._others):
                return  # somebody goes on: the others wait for work that takes its time
            culprits = stalls  # all wait, so not for the same thing
        speaker = min((stall.rank for stall in culprits or waiting), default=self._rank)
        is_hang = bool(waiting)
        if speaker == self._rank and self._store.add(f"{_TOLD}/{self._seen}", 1) == 1:
            self._tell(_report(culprits, waiting, silent, len(self._others) + 1), is_hang)
        if is_hang:
            time.sleep(_GRACE_S)
            _exit_now()
        self._warned_at = self._seen

    def _tell(self, report: str, is_hang: bool) -> None:
        sys.stdout.flush()
        sys.stderr.write(f"\n{report}\n")
        sys.stderr.flush()
        if is_hang:
            record_failure(TimeoutError(report.partition("\n")[0]), text=report)
            _exit_now()

    def _own_stall(self) -> Stall:
        now = main_thread_activity()
        return Stall(
            self._rank,
            PULSE.stage,
            now.phase,
            now.is_waiting,
            self._moved,
            now.stack,
            last_collectives(),
        )

    def _sign(self, rank: int) -> str:
        key = f"sign/{rank}"
        return self._store.get(key).decode() if self._store.check([key]) else ""

    def _stall(self, rank: int) -> Stall | None:
        key = f"stall/{rank}"
        if not self._store.check([key]):
            return None
        return Stall(**json.loads(self._store.get(key)))


def _exit_now() -> NoReturn:
    """End this process from a thread, while its main thread hangs."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(1)


def _report(culprits: list[Stall], waiting: list[Stall], silent: list[int], world_size: int) -> str:
    lines = [
        f"rank {rank} of {world_size} gives no sign of life: it ended without a word, or its "
        "machine stopped."
        for rank in silent
    ]
    wait_for_each_other = culprits and all(stall.is_waiting for stall in culprits)
    if wait_for_each_other:
        lines.append(f"all {world_size} ranks wait for each other, in different places:")
    for stall in culprits:
        verb = "stands" if wait_for_each_other or not waiting else "hangs"
        lines.append(f"rank {stall.rank} of {world_size} {verb}: {stall.headline()}")
    if not wait_for_each_other:
        lines += [f"  rank {stall.rank} waits for it: {stall.headline()}" for stall in waiting]
    if not waiting:
        lines.append("  No rank waits for it yet; it is left alone.")
    for stall in culprits or waiting:
        lines.append(f"Stack of rank {stall.rank} (most recent call last):")
        lines.append(stall.stack.rstrip())
    for stall in (*culprits, *waiting):
        if stall.collectives:
            lines.append(f"Last collectives of rank {stall.rank}: {stall.collectives}")
    return "\n".join(lines)


def prepare_watch(store: Store, rank: int, world_size: int, timeout_s: float) -> None:
    """Be ready to watch; ``beat`` starts it."""
    global _watch
    if world_size > 1 and timeout_s > 0:
        _watch = HangWatch(store, rank, world_size, timeout_s)


def end_watch() -> None:
    """Stop watching, when a rank leaves."""
    global _watch
    if _watch is not None:
        _watch.end()
        _watch = None

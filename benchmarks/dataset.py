"""What a loader and a packed index cost.

    python benchmarks/dataset.py

Times are CPU time, the best of several runs: other work on the machine does not count. Memory is
anonymous and shared PSS (each page divided by the processes that share it), summed over all
processes of a run, minus the same run with an index of ten entries.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ENTRIES = 1_000_000
MB = 1e6
Row = dict[str, Any]


def entry_of(number: int) -> dict[str, Any]:
    """A small annotation: 107 bytes pickled."""
    return {
        "img_path": f"data/train/n01440764/n01440764_{number:07d}.JPEG",
        "gt_label": number % 1000,
        "height": 375,
        "width": 500,
    }


def best_us(action: Callable[[], Any], per: int, repeats: int = 15) -> float:
    """CPU time of one of the ``per`` parts of ``action``, in microseconds."""
    times_ns = []
    for _ in range(repeats):
        began_ns = time.process_time_ns()
        action()
        times_ns.append(time.process_time_ns() - began_ns)
    return min(times_ns) / per / 1000


def row(name: str, measured: float, unit: str, limit: float | None) -> Row:
    return {
        "name": name,
        "measured": measured,
        "unit": unit,
        "limit": limit,
        "ok": limit is None or measured <= limit,
    }


class Cheap:
    """A dataset whose samples cost nothing, so that what is left is the loader."""

    def __len__(self) -> int:
        return 3200

    def __getitem__(self, index: int) -> int:
        return index


def loader_rows() -> list[Row]:
    from torch.utils.data import DataLoader

    from drivetrain.dataset import build_dataloader, pseudo_collate, skip_batches

    def build(**kwargs: Any) -> Any:
        node = {"dataset": Cheap(), "sampler": {"type": "DefaultSampler"}, "batch_size": 32}
        return build_dataloader({**node, **kwargs}, seed=1)

    def drain(loader: Any) -> Callable[[], None]:
        return lambda: [None for _ in loader] and None

    plain = best_us(drain(DataLoader(Cheap(), batch_size=32, collate_fn=pseudo_collate)), 3200)
    unkeyed = best_us(drain(build(keyed_randomness=False)), 3200)
    keyed = best_us(drain(build()), 3200)
    endless = build(sampler={"type": "InfiniteSampler"})

    def skip() -> None:
        skip_batches(endless, 1_000_000)
        next(iter(endless))

    skip_us = best_us(skip, 1)
    return [
        row("sample: own randomness, batches of 32, in the main process", keyed - plain, "µs", 15),
        row("sample: the rest of the loader, over torch's DataLoader", unkeyed - plain, "µs", 0.5),
        row("skip 1,000,000 batches, and load the next", skip_us / 1000, "ms", 20),
    ]


def index_rows() -> list[Row]:
    from drivetrain.dataset import BaseDataset

    size = 20_000

    class Entries(BaseDataset):
        def load_data_list(self) -> list[dict[str, Any]]:
            return [entry_of(number) for number in range(size)]

    packed, listed = Entries(), Entries(serialize_data=False)
    pickled = [pickle.dumps(entry_of(number), 5) for number in range(size)]

    def read(dataset: BaseDataset) -> Callable[[], None]:
        def action() -> None:
            for number in range(size):
                dataset.get_data_info(number)

        return action

    def unpickle() -> None:
        for data in pickled:
            pickle.loads(data)

    packed_us, bare_us = best_us(read(packed), size), best_us(unpickle, size)
    return [
        row("entry of a packed index", packed_us, "µs", 1.4),
        row("entry of a packed index, over a bare unpickle", packed_us / bare_us, "x", 2),
        row("entry of a list (deep copy)", best_us(read(listed), size), "µs", None),
    ]


def memory_rows() -> list[Row]:
    """The same index as a list and as an iterator, in fresh processes."""
    rows = []
    for how, peak_limit in (("a list", None), ("an iterator", 1.5)):
        name = f"1,000,000 entries from {how}"
        used, empty = measured_apart(how, ENTRIES), measured_apart(how, 10)
        packed = used["packed"]
        steady = used["pss"] - empty["pss"]
        # Written pages of the shared block are in no process's resident set until they are read.
        peak = used["peak"] - empty["peak"] + packed
        limit = peak_limit * packed if peak_limit else used["list"] + 1.3 * packed
        rows += [
            row(f"{name}: PSS, parent and 4 workers", steady / MB, "MB", 175),
            row(f"{name}: peak while packing", peak / MB, "MB", limit / MB),
        ]
    ranks, empty = measured_on_ranks(ENTRIES), measured_on_ranks(10)
    share = (ranks["pss"] - empty["pss"]) / ranks["packed"]
    rows.append(row("2 ranks x 4 workers: PSS over the packed size", share, "x", 1.3))
    return rows


def measured_apart(how: str, size: int) -> dict[str, float]:
    return _run([sys.executable, __file__, "--index", how, str(size)], {})[0]


def measured_on_ranks(size: int) -> dict[str, float]:
    """Two ranks with four workers each; PSS of all ten processes."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        rendezvous = {"WORLD_SIZE": "2", "BENCH_FOLDER": folder}
        command = [sys.executable, __file__, "--index", "rank", str(size)]
        ranks = [
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **rendezvous, "RANK": str(rank)},
            )
            for rank in range(2)
        ]
        reports = [json.loads(rank.communicate()[0].splitlines()[-1]) for rank in ranks]
    return {"pss": sum(r["pss"] for r in reports), "packed": reports[0]["packed"]}


def _run(command: list[str], env: dict[str, str]) -> list[dict[str, float]]:
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def report_index(how: str, size: int) -> None:
    """In a process of its own: build an index, read it with workers, and print what it takes."""
    from drivetrain.dataset import BaseDataset, build_dataloader

    listed_bytes = 0

    class Entries(BaseDataset):
        def load_data_list(self) -> Any:
            nonlocal listed_bytes
            entries = (entry_of(number) for number in range(size))
            if how == "an iterator":
                return entries
            before = resident_bytes("VmRSS")
            entries = list(entries)
            listed_bytes = resident_bytes("VmRSS") - before
            return entries

    warnings.filterwarnings("ignore", "This DataLoader will create")
    meet = _rendezvous() if how == "rank" else lambda: None
    gc.collect()
    dataset = Entries()
    peak = resident_bytes("VmHWM")
    loader = build_dataloader(
        {
            "dataset": dataset,
            "sampler": {"type": "DefaultSampler"},
            "batch_size": 512,
            "num_workers": 4,
            "persistent_workers": True,
            "collate_fn": len,
        },
        seed=1,
    )
    for _ in loader:
        pass
    meet()
    workers = [worker.pid for worker in loader._iterator._workers]
    pss = sum(pss_bytes(pid) for pid in (os.getpid(), *workers))
    meet()
    report = {"pss": pss, "peak": peak, "packed": dataset._packed.nbytes, "list": listed_bytes}
    print(json.dumps(report), flush=True)


def _rendezvous() -> Callable[[], None]:
    """Join the other rank, and return a barrier."""
    import torch.distributed as torch_dist

    torch_dist.init_process_group(
        "gloo",
        store=torch_dist.FileStore(f"{os.environ['BENCH_FOLDER']}/store", 2),
        rank=int(os.environ["RANK"]),
        world_size=2,
    )
    return torch_dist.barrier


def pss_bytes(pid: int) -> int:
    """Of anonymous and shared memory: a library's pages depend on who else has it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = dict(line.split(":") for line in lines[1:])
    return sum(int(sizes[field].split()[0]) * 1024 for field in ("Pss_Anon", "Pss_Shmem"))


def resident_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def run() -> list[Row]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    rows = loader_rows() + index_rows()
    return rows + memory_rows() if Path("/proc/self/smaps_rollup").exists() else rows


def main() -> int:
    if sys.argv[1:2] == ["--index"]:
        report_index(sys.argv[2], int(sys.argv[3]))
        return 0
    rows = run()
    width = max(len(r["name"]) for r in rows)
    for r in rows:
        limit = "" if r["limit"] is None else f"<= {r['limit']:,.2f}"
        verdict = "ok" if r["ok"] else "MISSED"
        print(f"{r['name']:{width}}  {r['measured']:10,.2f} {r['unit']:3} {limit:>12}  {verdict}")
    return 0 if all(r["ok"] for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

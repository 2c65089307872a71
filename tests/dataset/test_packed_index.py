"""The packed index: one copy, whoever reads it and however they were started."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.dataset import BaseDataset, build_dataloader
from drivetrain.dataset._packed_index import pack

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
LARGE = [{"number": number, "name": "x" * 1000} for number in range(2000)]


@pytest.fixture(autouse=True)
def own_offers(tmp_path, monkeypatch):
    """Offers of this test only."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"drivetrain-index-{os.getuid()}"


def file_of(index):
    """What identifies the memory behind an index."""
    status = os.fstat(index._block.file.fileno())
    return status.st_dev, status.st_ino


class Large(BaseDataset):
    def load_data_list(self):
        return [dict(entry) for entry in LARGE]


@given(st.lists(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=9))))
def test_entries_come_back_as_they_were(entries):
    index = pack(entries)
    assert [index[row] for row in range(len(index))] == entries
    assert list(pickle.loads(pickle.dumps(index))) == entries


def test_a_selection_shares_the_bytes():
    index = pack(LARGE)
    part = index.take([5, 3]).take([1])
    assert part[0] == LARGE[3]
    assert len(part) == 1
    assert part.nbytes == index.nbytes


def test_what_yields_is_never_a_list():
    """Each entry is gone before the next but a few is made."""
    alive = 0
    most = 0

    class Entry(dict):
        def __init__(self):
            nonlocal alive, most
            alive += 1
            most = max(most, alive)

        def __del__(self):
            nonlocal alive
            alive -= 1

        def __reduce__(self):
            return dict, ()

    assert len(pack(Entry() for _ in range(1000))) == 1000
    assert most <= 3


@linux_only
def test_equal_indexes_of_one_process_are_one():
    first, second = pack(LARGE), pack(LARGE)
    assert file_of(first) == file_of(second)
    assert second[7] == LARGE[7]


@linux_only
def test_different_indexes_stay_apart():
    other = [*LARGE[:-1], {"number": -1, "name": "x" * 1000}]
    assert file_of(pack(LARGE)) != file_of(pack(other))


def test_small_indexes_are_not_worth_an_offer(own_offers):
    pack(LARGE[:10])
    assert not own_offers.exists()


@linux_only
def test_an_offer_ends_with_its_index(own_offers):
    index = pack(LARGE)
    assert len(list(own_offers.glob("*.json"))) == 1
    del index
    assert list(own_offers.iterdir()) == []


@linux_only
def test_an_offer_whose_process_has_ended_is_replaced(own_offers):
    own_offers.mkdir(mode=0o700)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    (own_offers / "other.json").write_text(json.dumps({"pid": process.pid, "path": "/nowhere"}))
    pack(LARGE)
    assert not (own_offers / "other.json").exists()


@linux_only
@pytest.mark.parametrize(
    "content", ["", "{}", '{"pid": 1, "path": "/proc/self/exe"}', '{"pid": 1, "path": "/nowhere"}']
)
def test_an_offer_that_holds_something_else_is_not_trusted(own_offers, content):
    """The number of a closed file may name another file by now."""
    index = pack(LARGE)
    (offer,) = own_offers.glob("*.json")
    offer.write_text(content)
    again = pack(LARGE)
    assert file_of(again) != file_of(index)
    assert again[3] == LARGE[3]


@linux_only
def test_an_offer_of_the_right_size_and_other_content_is_not_trusted(own_offers, tmp_path):
    index = pack(LARGE)
    (offer,) = own_offers.glob("*.json")
    forged = tmp_path / "forged"
    forged.write_bytes(b"\0" * index.nbytes)
    offer.write_text(json.dumps({"pid": os.getpid(), "path": str(forged)}))
    assert pack(LARGE)[3] == LARGE[3]


@linux_only
def test_a_folder_that_others_may_write_to_is_not_used(own_offers):
    own_offers.mkdir(mode=0o777)
    own_offers.chmod(0o777)
    assert pack(LARGE)[3] == LARGE[3]
    assert list(own_offers.iterdir()) == []


@linux_only
def test_without_a_temporary_folder_a_process_keeps_its_own(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    assert pack(LARGE)[3] == LARGE[3]


def _index_of_a_rank():
    import torch.distributed as torch_dist

    dataset = Large()
    torch_dist.barrier()  # nobody ends while another may still look
    found = file_of(dataset._packed), dataset.get_data_info(1234)["number"]
    torch_dist.barrier()
    return found


@linux_only
def test_ranks_of_one_machine_hold_one_copy(on_ranks):
    answers = on_ranks(3, _index_of_a_rank)
    assert {number for _, number in answers} == {1234}
    assert len({file for file, _ in answers}) == 1


def _load_together():
    import torch.distributed as torch_dist

    class Meeting(Large):
        def load_data_list(self):
            torch_dist.barrier()  # as datasets do that let rank 0 download
            return super().load_data_list()

    return len(Meeting())


def test_ranks_may_meet_while_they_load(on_ranks):
    """Sharing must hold no lock during loading, or this would never end."""
    assert on_ranks(2, _load_together) == [2000, 2000]


class Source(Large):
    """Its samples tell which memory they come from."""

    def __getitem__(self, idx):
        return str(file_of(self._packed)), self.get_data_info(idx)["number"]


@linux_only
def test_workers_read_the_memory_of_their_parent():
    dataset = Source()
    node = {"dataset": dataset, "sampler": {"type": "DefaultSampler"}, "batch_size": 50}
    loader = build_dataloader({**node, "num_workers": 2}, seed=0)
    files, numbers = zip(*loader, strict=True)
    assert {file for batch in files for file in batch} == {str(file_of(dataset._packed))}
    assert sorted(number for batch in numbers for number in batch) == list(range(2000))


SPAWN_PROGRAM = """
import os
from drivetrain.dataset import BaseDataset, build_dataloader

def inode(dataset):
    return os.fstat(dataset._packed._block.file.fileno()).st_ino

class Small(BaseDataset):
    def load_data_list(self):
        return [{"number": number} for number in range(8)]
    def __getitem__(self, idx):
        return inode(self), self.get_data_info(idx)["number"]

if __name__ == "__main__":
    dataset = Small()
    loader = build_dataloader(dict(
        dataset=dataset, sampler=dict(type="DefaultSampler", shuffle=False), batch_size=8,
        num_workers=1, multiprocessing_context="spawn"))
    inodes, numbers = next(iter(loader))
    print(set(inodes) == {inode(dataset)}, list(numbers) == list(range(8)))
"""


@linux_only
@pytest.mark.slow
def test_spawned_workers_read_the_memory_of_their_parent_too(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(SPAWN_PROGRAM)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True)
    assert done.stdout.strip() == "True True", done.stderr

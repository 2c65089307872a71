"""What the package offers, and what importing it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType

import pytest

from drivetrain import dist
from drivetrain.dist import strategy

HEAVY = [
    "torch.distributed.tensor",
    "torch.distributed.fsdp",
    "torch.distributed.checkpoint",
    "torch.distributed.elastic",
]


@pytest.mark.parametrize("module", [dist, strategy], ids=lambda module: module.__name__)
def test_every_name_of_the_front_door_exists_and_is_listed_once(module: ModuleType) -> None:
    assert len(set(module.__all__)) == len(module.__all__)
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert not missing
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public <= set(module.__all__)


def test_the_documented_names_are_there() -> None:
    """The reference engine's ``dist`` and ``device``, and the wrappers of its ``model``."""
    documented = """
        gather gather_object all_gather all_gather_object all_reduce all_reduce_dict
        all_reduce_params broadcast sync_random_seed broadcast_object_list collect_results
        collect_results_cpu collect_results_gpu get_dist_info init_dist init_local_group
        get_backend get_world_size get_rank get_local_size get_local_rank is_main_process
        master_only barrier is_distributed get_local_group get_default_group get_data_device
        get_comm_device cast_data_device infer_launcher get_device get_max_cuda_memory
        get_max_musa_memory is_cuda_available is_mlu_available is_mps_available is_npu_available
        is_musa_available MMDistributedDataParallel MMSeparateDistributedDataParallel
        is_model_wrapper convert_sync_batchnorm revert_sync_batchnorm detect_anomalous_params
        autocast set_random_seed collect_env set_multi_processing
    """
    assert set(documented.split()) <= set(dist.__all__)


def test_importing_brings_no_machinery_that_only_some_need() -> None:
    """Each of these takes as long to import as torch itself, or half of that."""
    program = f"""
import json, sys, torch
before = set(sys.modules)
import drivetrain.dist.strategy
print(json.dumps([name for name in {HEAVY} if name in sys.modules and name not in before]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []

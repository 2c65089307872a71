"""The front door: what is listed is there, documented, and announced."""

from __future__ import annotations

import inspect

import pytest

import drivetrain.dataset
from drivetrain.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS


def test_all_lists_what_the_package_exposes():
    exposed = {
        name
        for name, value in vars(drivetrain.dataset).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert exposed | {"__version__"} == set(drivetrain.dataset.__all__)


@pytest.mark.parametrize("name", sorted(set(drivetrain.dataset.__all__) - {"__version__"}))
def test_every_public_name_is_documented(name):
    assert inspect.getdoc(getattr(drivetrain.dataset, name))


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        (DATASETS, "BaseDataset"),
        (DATASETS, "ConcatDataset"),
        (DATASETS, "RepeatDataset"),
        (DATASETS, "ClassBalancedDataset"),
        (DATA_SAMPLERS, "DefaultSampler"),
        (DATA_SAMPLERS, "InfiniteSampler"),
        (FUNCTIONS, "pseudo_collate"),
        (FUNCTIONS, "default_collate"),
        (FUNCTIONS, "worker_init_fn"),
    ],
)
def test_components_are_registered_under_their_names(registry, name):
    assert registry.get(name) is getattr(drivetrain.dataset, name)

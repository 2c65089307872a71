"""Inferencers, and models of installed packages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from drivetrain.checkpoint import save_checkpoint
from drivetrain.model import BaseModel
from drivetrain.registry import MODELS
from drivetrain.runner import InferencerError, ModelIndexError
from drivetrain.runner.hub import get_config, get_model
from drivetrain.runner.infer import BaseInferencer
from drivetrain.structures import LabelData


class Scale(BaseModel):
    """Its prediction is its input times its weight."""

    def __init__(self, weight: float = 2.0, pretrained: str | None = None) -> None:
        super().__init__()
        assert pretrained is None, "weights are given: nothing else is to be loaded"
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, inputs, mode="tensor"):
        return [LabelData(item=value * self.weight) for value in inputs]


class ScaleInferencer(BaseInferencer):
    """Numbers in, numbers out."""

    preprocess_kwargs = {"shift"}
    visualize_kwargs = {"marker"}
    postprocess_kwargs = {"digits"}

    def _init_pipeline(self, cfg):
        return lambda number: {"inputs": torch.tensor(float(number))}

    def preprocess(self, inputs, batch_size=1, shift=0.0):
        return super().preprocess([x + shift for x in inputs], batch_size)

    def visualize(self, inputs, preds, show=False, marker="-"):
        return [marker for _ in inputs]

    def postprocess(self, preds, visualization, return_datasample=False, digits=None):
        shown = preds if return_datasample else [self.pred2dict(pred) for pred in preds]
        return {"predictions": shown, "visualization": visualization, "digits": digits}


@pytest.fixture
def scale():
    """The model under its name."""
    MODELS.register_module(name="ScaleOfThisTest", module=Scale, force=True)
    yield {"model": {"type": "ScaleOfThisTest"}}
    MODELS.module_dict.pop("ScaleOfThisTest")


def test_inputs_become_predictions(scale) -> None:
    inferencer = ScaleInferencer(scale, show_progress=False, device="cpu")
    result = inferencer([1, 2, 3], batch_size=2)
    assert [pred["item"] for pred in result["predictions"]] == [2.0, 4.0, 6.0]
    assert not inferencer.model.training


def test_each_argument_reaches_its_stage(scale) -> None:
    inferencer = ScaleInferencer(scale, show_progress=False)
    result = inferencer(1, return_datasamples=True, shift=9, marker="x", digits=3)
    assert isinstance(result["predictions"][0], LabelData)
    assert float(result["predictions"][0].item) == 20
    assert (result["visualization"], result["digits"]) == (["x"], 3)
    with pytest.raises(InferencerError, match=r"no stage takes 'colour'; known: digits, m"):
        inferencer(1, colour="red")


def test_weights_are_loaded_and_their_config_serves(scale, tmp_path) -> None:
    path = str(tmp_path / "weights.pth")
    meta = {
        "cfg": "model = dict(type='ScaleOfThisTest', pretrained='http://x')",
        "dataset_meta": {"classes": ["a"]},
    }
    save_checkpoint({"state_dict": {"weight": torch.tensor(5.0)}, "meta": meta}, path)
    inferencer = ScaleInferencer(weights=path, show_progress=False)
    assert inferencer([1])["predictions"][0]["item"] == 5.0
    assert inferencer.model.dataset_meta == {"classes": ["a"]}
    assert inferencer.cfg.model.type == "ScaleOfThisTest"


@pytest.mark.parametrize(
    "text",
    [
        "model = dict(type='subprocess.call', args=['touch', 'PATH'])",
        "import os; os.system('touch PATH'); model = dict(type='ScaleOfThisTest')",
        "custom_imports = dict(imports=['antigravity'])\nmodel = dict(type='os.path.Scale')",
    ],
    ids=["type", "code", "import"],
)
def test_a_checkpoint_of_a_stranger_runs_nothing(scale, tmp_path, text) -> None:
    path = str(tmp_path / "weights.pth")
    meta = {"cfg": text.replace("PATH", str(tmp_path / "touched"))}
    save_checkpoint({"state_dict": {}, "meta": meta}, path)
    with pytest.raises(ValueError, match=r"would be imported|import|not allowed|refused|safe"):
        ScaleInferencer(weights=path)
    assert not (tmp_path / "touched").exists()


def test_a_folder_stands_for_its_files(scale, tmp_path) -> None:
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).touch()
    inferencer = ScaleInferencer(scale, show_progress=False)
    names = [Path(path).name for path in inferencer._inputs_to_list(str(tmp_path))]
    assert names == ["a.txt", "b.txt"]


def test_without_a_model_there_is_nothing_to_infer() -> None:
    with pytest.raises(InferencerError, match="give a model, or weights"):
        ScaleInferencer()


def test_an_argument_belongs_to_one_stage() -> None:
    with pytest.raises(InferencerError, match="both preprocess and visualize take 'shift'"):
        type("Twice", (ScaleInferencer,), {"visualize_kwargs": {"shift"}})
    with pytest.raises(TypeError, match="is a set of names"):
        type("Wrong", (ScaleInferencer,), {"visualize_kwargs": ["marker"]})


def test_predictions_become_plain(scale) -> None:
    inferencer = ScaleInferencer(scale, show_progress=False)
    nested = LabelData(label=torch.tensor([1, 2]), score=np.float32(0.5), name="x")
    assert inferencer.pred2dict(nested) == {"label": [1, 2], "score": 0.5, "name": "x"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with a model index, as packages for the reference engine have it."""
    folder = tmp_path / "site" / "zoo_of_this_test"
    configs = folder / ".mim" / "configs" / "scale"
    configs.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "utils.py").write_text(
        "from drivetrain.registry import MODELS, Registry\n"
        "HERE = Registry('model', parent=MODELS, scope='zoo_of_this_test')\n"
        "def register_all_modules(init_default_scope=True):\n"
        "    from drivetrain.model import BaseModel\n"
        "    import torch\n"
        "    class ZooScale(BaseModel):\n"
        "        def __init__(self, weight=1.0):\n"
        "            super().__init__()\n"
        "            self.weight = torch.nn.Parameter(torch.tensor(float(weight)))\n"
        "        def forward(self, inputs, mode='tensor'):\n"
        "            return [x * self.weight for x in inputs]\n"
        "    HERE.register_module(module=ZooScale, force=True)\n"
    )
    (configs / "small.py").write_text("model = dict(type='ZooScale')\n")
    (configs / "bare.py").write_text("model = dict(type='ZooScale')\n")
    weights = str(tmp_path / "small.pth")
    save_checkpoint({"state_dict": {"weight": torch.tensor(7.0)}}, weights)
    mim = folder / ".mim"
    (mim / "model-index.yml").write_text("Import:\n  - configs/scale/metafile.yml\n")
    (configs / "metafile.yml").write_text(
        "Models:\n"
        "  - Name: scale_small\n"
        "    Alias: [tiny]\n"
        "    Config: configs/scale/small.py\n"
        f"    Weights: {weights}\n"
        "  - Name: scale_bare\n"
        "    Config: configs/scale/bare.py\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield weights
    for name in [name for name in sys.modules if name.startswith("zoo_of_this_test")]:
        del sys.modules[name]
    MODELS.children.pop("zoo_of_this_test", None)


def test_a_config_of_a_package_knows_its_weights(package) -> None:
    assert get_config("zoo_of_this_test::scale/small.py").model.type == "ZooScale"
    assert get_config("zoo_of_this_test::scale/small", pretrained=True).model_path == package


def test_a_model_of_a_package_is_built_and_filled(package) -> None:
    assert get_model("zoo_of_this_test::scale/small.py", weight=3).weight.item() == 3
    assert get_model("zoo_of_this_test::scale/small.py", pretrained=True).weight.item() == 7


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("scale/small.py", "give package::path"),
        ("zoo_of_this_test::scale/bare.py", "has no weights"),
    ],
)
def test_a_wrong_path_is_explained(package, path, text) -> None:
    with pytest.raises(ModelIndexError, match=text):
        get_config(path, pretrained=True)


def test_an_inferencer_takes_a_model_by_its_name(package) -> None:
    inferencer = ZooInferencer("tiny", scope="zoo_of_this_test", show_progress=False)
    assert inferencer([2])["predictions"] == [14.0]
    assert BaseInferencer.list_models("zoo_of_this_test") == ["scale_small", "scale_bare"]
    assert BaseInferencer.list_models("zoo_of_this_test", "scale_b") == ["scale_bare"]
    with pytest.raises(ModelIndexError, match=r"no model 'scale_smal'(.|\n)*'scale_small'"):
        ZooInferencer("scale_smal", scope="zoo_of_this_test")


class ZooInferencer(ScaleInferencer):
    """Plain numbers as predictions."""

    def pred2dict(self, data_sample: Any) -> Any:
        return float(data_sample)

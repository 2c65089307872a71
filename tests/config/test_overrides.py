"""Overrides: from a command line, strict, and from dicts."""
# ruff: noqa: C408 (configs are written with dict())

from __future__ import annotations

import argparse

import pytest

from drivetrain.config import (
    Config,
    DictAction,
    ListIndexError,
    MergeError,
    OverrideSyntaxError,
    UnknownKeyError,
    apply_overrides,
    parse_override,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-3", -3),
        ("1e-3", 1e-3),
        ("2.", 2.0),
        ("true", True),
        ("False", False),
        ("None", None),
        ("adam", "adam"),
        ("", ""),
        ("a b", "a b"),
        ("it's", "it's"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("1,2", [1, 2]),
        ("a,b,", ["a", "b"]),
        ("[1, 1, 1]", [1, 1, 1]),
        ("[]", []),
        ("()", ()),
        ("(1,)", (1,)),
        ("[(1,2),(a,b)]", [(1, 2), ("a", "b")]),
        ("[[1,[2]],None]", [[1, [2]], None]),
        ("none", "none"),
        ("'[1,2]'", [1, 2]),
        ("['a,b',c]", ["a,b", "c"]),
        ("{a: 1, b: [1, x]}", {"a": 1, "b": [1, "x"]}),
        ("{}", {}),
        ("s3://bucket/a=b", "s3://bucket/a=b"),
        ("/data/x.json", "/data/x.json"),
    ],
)
def test_values_are_what_they_look_like(text, value) -> None:
    key, parsed = parse_override(f"a.b={text}")

    assert key == "a.b"
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("text", ["lr", "=3", "a..b=1", "a=[1,2", "a=(1]", "a=[1)", "a='x", ".=1"])
def test_what_is_no_override_is_refused(text) -> None:
    with pytest.raises(OverrideSyntaxError):
        parse_override(text)


@pytest.fixture
def cfg() -> Config:
    return Config(
        dict(
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
            pipeline=[dict(type="Load", to=1), dict(type="Flip")],
            sizes=(1, 2),
        )
    )


def test_overrides_change_what_exists(cfg) -> None:
    apply_overrides(cfg, ["optim_wrapper.optimizer.lr=0.01", "pipeline.1.type=Crop", "sizes.-1=5"])

    assert cfg.optim_wrapper.optimizer == dict(type="SGD", lr=0.01)
    assert cfg.pipeline[1].type == "Crop"
    assert cfg.sizes == (1, 5)


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("optim_wrapper.optimizer.lrr=1", "optim_wrapper.optimizer.lr"),
        ("optim_wraper.optimizer.lr=1", "optim_wrapper.optimizer.lr"),
        ("lr=1", "optim_wrapper.optimizer.lr"),
        ("pipeline.0.typ=1", "pipeline.0.type"),
    ],
)
def test_an_unknown_path_fails_with_the_nearest_one(cfg, override, nearest) -> None:
    with pytest.raises(UnknownKeyError) as caught:
        apply_overrides(cfg, [override])

    assert nearest in caught.value.nearest
    assert nearest in str(caught.value)
    assert caught.value.path == override.partition("=")[0]
    assert f"+{caught.value.path}=" in str(caught.value)


def test_a_plus_adds_a_new_path(cfg) -> None:
    apply_overrides(cfg, ["+optim_wrapper.optimizer.nesterov=true", "+new.deep.key=[1]"])

    assert cfg.optim_wrapper.optimizer.nesterov is True
    assert cfg.new.deep.key == [1]


def test_one_bad_override_leaves_the_config_as_it_was(cfg) -> None:
    with pytest.raises(UnknownKeyError):
        apply_overrides(cfg, ["optim_wrapper.optimizer.lr=9", "nothing=1"])

    assert cfg.optim_wrapper.optimizer.lr == 0.1
    assert len(cfg.origin("optim_wrapper.optimizer.lr")) == 1


def test_a_dict_value_merges_and_can_delete(cfg) -> None:
    apply_overrides(cfg, ["optim_wrapper.optimizer={lr: 1}"])
    assert cfg.optim_wrapper.optimizer == dict(type="SGD", lr=1)

    cfg.merge_from_dict({"optim_wrapper.optimizer": dict(_delete_=True, type="Adam")})
    assert cfg.optim_wrapper.optimizer == dict(type="Adam")


def test_a_dict_value_is_checked_key_by_key_unless_it_replaces(cfg) -> None:
    with pytest.raises(UnknownKeyError, match=r"no 'optim_wrapper.optimizer.l'"):
        apply_overrides(cfg, ["optim_wrapper.optimizer={l: 1}"])

    apply_overrides(cfg, ["optim_wrapper.optimizer={_delete_: true, type: Adam, betas: (1,2)}"])

    assert cfg.optim_wrapper.optimizer == dict(type="Adam", betas=(1, 2))


def test_a_dict_takes_the_place_of_none() -> None:
    cfg = Config(dict(val_cfg=None))

    apply_overrides(cfg, ["val_cfg={type: ValLoop}"])

    assert cfg.val_cfg == dict(type="ValLoop")


def test_the_options_of_the_caller_stay_as_they_are(cfg) -> None:
    options = {"model": dict(a=dict(b=1)), "model.a.c": 2}

    cfg.merge_from_dict(options)

    assert cfg.model == dict(a=dict(b=1, c=2))
    assert options == {"model": dict(a=dict(b=1)), "model.a.c": 2}


def test_merge_from_dict_takes_dotted_keys_and_adds(cfg) -> None:
    cfg.merge_from_dict({"model.backbone.depth": 50, "model.backbone.with_cp": True})

    assert cfg.model == dict(backbone=dict(depth=50, with_cp=True))


def test_merge_from_dict_can_be_strict(cfg) -> None:
    with pytest.raises(UnknownKeyError, match=r"'optim_wrapper.optimizer.lr'"):
        cfg.merge_from_dict({"optim_wrapper.optimizer.l": 1}, strict=True)
    with pytest.raises(UnknownKeyError):
        cfg.merge_from_dict({"optim_wrapper": dict(optimizer=dict(l=1))}, strict=True)


def test_list_elements_are_edited_by_index(cfg) -> None:
    cfg.merge_from_dict(dict(pipeline={"0": dict(type="Read")}))
    assert cfg.pipeline == [dict(type="Read", to=1), dict(type="Flip")]

    cfg.merge_from_dict({"pipeline.1": "whole"})
    assert cfg.pipeline[1] == "whole"


def test_list_keys_can_be_forbidden(cfg) -> None:
    with pytest.raises(MergeError, match="pipeline: cannot merge a dict into the inherited list"):
        cfg.merge_from_dict({"pipeline.0.type": "x"}, allow_list_keys=False)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"pipeline.5.type": "x"}, IndexError, "index 5 is out of range, the list has 2 items"),
        ({"pipeline.5.type": "x"}, ListIndexError, "pipeline: index 5"),
        ({"pipeline.first.type": "x"}, MergeError, "name an element by its index, not 'first'"),
        ({"optim_wrapper.optimizer.lr.x": 1}, TypeError, "optimizer.lr: cannot merge a dict"),
    ],
)
def test_a_merge_that_cannot_be_is_an_error(cfg, options, error, message) -> None:
    with pytest.raises(error, match=message):
        cfg.merge_from_dict(options)


def test_dict_action_reports_bad_arguments_as_argparse_does(capsys) -> None:
    parser = argparse.ArgumentParser(prog="train")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)

    with pytest.raises(SystemExit):
        parser.parse_args(["--cfg-options", "lr"])

    assert "argument --cfg-options: 'lr' is no override" in capsys.readouterr().err


def test_dict_action_keeps_defaults_untouched() -> None:
    parser = argparse.ArgumentParser()
    default = {"a": 1}
    parser.add_argument("--o", nargs="+", action=DictAction, default=default)

    assert parser.parse_args(["--o", "b=2"]).o == {"a": 1, "b": 2}
    assert default == {"a": 1}


def test_auto_argparser_makes_an_option_of_each_leaf(write, monkeypatch) -> None:
    write("c.py", "lr = 0.1\nflag = False\nmodel = dict(depth=3, sizes=[1, 2])\nname = 'x'")
    monkeypatch.setattr(
        "sys.argv",
        ["train", "c.py", "--lr", "0.5", "--flag", "--model.depth", "7", "--model.sizes", "3", "4"],
    )

    parser, cfg = Config.auto_argparser("Train")
    args = vars(parser.parse_args())

    assert cfg.model.depth == 3
    assert args == {
        "config": "c.py",
        "lr": 0.5,
        "flag": True,
        "model.depth": 7,
        "model.sizes": [3, 4],
        "name": "x",
    }


def test_an_index_beyond_a_list_says_how_long_it_is_and_that_it_is_given_whole() -> None:
    """``+steps.2.type=C`` would fail too: it is not offered."""
    cfg = Config(dict(a=dict(steps=[dict(type="A"), dict(type="B")])))

    with pytest.raises(UnknownKeyError, match=r"'a.steps' has 2 items; .*a.steps=\[") as caught:
        apply_overrides(cfg, ["a.steps.2.type=C"])
    assert "a.steps.0.type" in caught.value.nearest
    with pytest.raises(ListIndexError, match="2 items; to add one, give the whole list"):
        apply_overrides(cfg, ["+a.steps.2.type=C"])

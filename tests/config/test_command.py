"""``python -m drivetrain.config``: show, explain, diff, check."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from drivetrain.config import Config, check
from drivetrain.config._command import main


@pytest.fixture
def files(write):
    write("base.py", "lr = 0.1\nmodel = dict(depth=50)\n")
    write("top.py", "_base_ = 'base.py'\nlr = 0.2\n")
    write("broken.py", "a = 1\nb = 1 / 0\n")
    return write


def test_show_prints_a_config_that_loads_again(files, capsys) -> None:
    assert main(["show", "top.py", "model.depth=18", "+tag=x"]) == 0

    printed = capsys.readouterr().out
    assert printed == "lr = 0.2\nmodel = dict(depth=18)\ntag = 'x'\n"
    assert Config.fromstring(printed, "py").tag == "x"


def test_show_prints_json_and_origins(files, capsys) -> None:
    assert main(["show", "top.py", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"lr": 0.2, "model": {"depth": 50}}

    assert main(["show", "top.py", "--origins"]) == 0
    assert capsys.readouterr().out == (
        "lr = 0.2          # top.py:2\nmodel.depth = 50  # base.py:2\n"
    )


def test_explain_prints_the_chain(files, capsys) -> None:
    assert main(["explain", "top.py", "lr"]) == 0
    assert capsys.readouterr().out == (
        "lr = 0.2\n  set by    top.py:2\n  replaced  0.1  from base.py:1\n"
    )

    assert main(["explain", "top.py", "lr", "--json"]) == 0
    chain = json.loads(capsys.readouterr().out)
    assert [(each["value"], each["filename"], each["lineno"]) for each in chain] == [
        (0.2, "top.py", 2),
        (0.1, "base.py", 1),
    ]


def test_diff_prints_paths_and_says_by_its_exit_code(files, capsys) -> None:
    files("other.yaml", "lr: 0.3\nmodel: {depth: 50, width: 2}")

    assert main(["diff", "top.py", "other.yaml"]) == 1
    assert capsys.readouterr().out == "~ lr = 0.2 -> 0.3\n+ model.width = 2\n"
    assert main(["diff", "top.py", "other.yaml", "--unified"]) == 1
    assert "-lr = 0.2\n" in capsys.readouterr().out
    assert main(["diff", "top.py", "other.yaml", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0] == {
        "path": "lr",
        "kind": "changed",
        "old": 0.2,
        "new": 0.3,
    }
    assert main(["diff", "top.py", "top.py"]) == 0
    assert capsys.readouterr().out == ""


def test_check_finds_what_is_wrong(files, capsys) -> None:
    assert main(["check", "top.py"]) == 0
    assert capsys.readouterr().out == "top.py: good\n"
    assert main(["check", "broken.py"]) == 1
    assert capsys.readouterr().out.startswith("broken.py:2: ZeroDivisionError")
    assert main(["check", "top.py", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_check_looks_at_values_and_references_without_importing(files) -> None:
    files(
        "c.py",
        """
        from dt_nowhere.nets import Net
        model = dict(
            type=Net,
            name='{{ fileBasenam }}',
            steps=[dict(_delete_=True, a=1)],
        )
        """,
    )

    assert [str(problem) for problem in check("c.py")] == [
        "c.py:3: model.type: module 'dt_nowhere.nets' is not installed",
        "c.py:4: model.name: the template in '{{ fileBasenam }}' is not known and stays as it is",
        "c.py:5: model.steps.0._delete_: `_delete_` has no effect here: inside a list nothing is "
        "inherited",
    ]


def test_check_tells_of_values_that_cannot_be_printed(files) -> None:
    files("c.py", "a = object()")

    assert "cannot be printed" in str(check("c.py")[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nothing.py"], "nothing.py: no config file"),
        (["show", "top.py", "modl.depth=1"], "did you mean 'model.depth'"),
        (["explain", "top.py", "model.dept"], "did you mean 'model.depth'"),
        (["show", "broken.py"], "broken.py:2: ZeroDivisionError"),
        (["show", "broken.py", "--safe"], "broken.py:2: cannot be evaluated: ZeroDivisionError"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(files, capsys, arguments, message) -> None:
    assert main(arguments) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_the_module_runs_as_a_command(files, tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "drivetrain.config", "explain", "top.py", "lr"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("lr = 0.2\n")


def test_overrides_may_stand_behind_options(files, capsys) -> None:
    assert main(["show", "--json", "base.py", "--safe", "lr=5"]) == 0
    assert json.loads(capsys.readouterr().out)["lr"] == 5
    with pytest.raises(SystemExit):
        main(["diff", "base.py", "top.py", "x=5"])
    assert "unrecognized arguments: x=5" in capsys.readouterr().err

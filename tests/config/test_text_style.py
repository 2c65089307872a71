"""Text-style files: ``_base_``, merging, templates, helpers in the file."""
# ruff: noqa: C408 (configs are written with dict())

from __future__ import annotations

import os
import sys
import warnings

import pytest

from drivetrain.config import (
    CircularBaseError,
    Config,
    ConfigExecutionError,
    ConfigFileNotFoundError,
    ConfigImportError,
    ConfigParseError,
    DuplicateKeyError,
    EnvironmentVariableError,
    MergeError,
    TemplateError,
    UnknownBaseValueError,
    UnsupportedFormatError,
)


def test_a_chain_of_four_files_in_three_formats_merges_deeply(write) -> None:
    write("a.py", "model = dict(type='R', head=dict(n=1, bias=True))\nkeep = 1")
    write("b.yaml", "_base_: a.py\nmodel: {head: {n: 2}}")
    write("c.json", '{"_base_": ["./b.yaml"], "model": {"head": {"extra": [1]}}}')
    write("sub/d.py", "_base_ = '../c.json'\nmodel = dict(type='S')")

    assert Config.fromfile("sub/d.py") == dict(
        model=dict(type="S", head=dict(n=2, bias=True, extra=[1])), keep=1
    )


def test_delete_works_at_any_depth_and_leaves_no_trace(write) -> None:
    write("a.py", "m = dict(x=dict(y=dict(z=1, w=2)), keep=1)")
    write("b.py", "_base_ = 'a.py'\nm = dict(x=dict(y=dict(_delete_=True, v=3)))")
    write("c.py", "m = dict(new=dict(_delete_=True, a=1), old=dict(_delete_=False, b=2))")

    assert Config.fromfile("b.py").m == dict(x=dict(y=dict(v=3)), keep=1)
    assert Config.fromfile("c.py").m == dict(new=dict(a=1), old=dict(b=2))


def test_a_dict_over_a_number_says_how_to_replace_it(write) -> None:
    write("a.py", "m = dict(head=5)")
    write("b.py", "_base_ = 'a.py'\n\nm = dict(head=dict(n=1))")

    with pytest.raises(MergeError, match=r"b.py:3: m.head: cannot merge .* int 5.*_delete_=True"):
        Config.fromfile("b.py")


def test_a_duplicate_key_names_the_key_and_both_files(write) -> None:
    write("a.py", "shared = 1")
    write("a2.py", "_base_ = 'a.py'")
    write("b.py", "shared = 2")
    write("c.py", "\n_base_ = ['a2.py', 'b.py']")

    with pytest.raises(DuplicateKeyError) as caught:
        Config.fromfile("c.py")

    assert str(caught.value).startswith("c.py:1: key 'shared' is defined by two bases, a2.py")


def test_a_file_that_inherits_from_itself_is_an_error(write) -> None:
    write("a.py", "_base_ = 'b.py'")
    write("b.py", "_base_ = 'a.py'")

    with pytest.raises(CircularBaseError, match=r"b.py:1: .* a.py -> b.py -> a.py"):
        Config.fromfile("a.py")


def test_a_missing_base_names_who_asked_and_the_nearest_file(write) -> None:
    write("base_model.py", "")
    write("c.py", "x = 1\n_base_ = ['base_modl.py']")

    with pytest.raises(ConfigFileNotFoundError, match=r"c.py:2: .*did you mean 'base_model.py'"):
        Config.fromfile("c.py")


def test_a_missing_package_is_named(write) -> None:
    write("c.py", "_base_ = 'no_such_package_here::a.py'")

    with pytest.raises(ConfigFileNotFoundError, match="'no_such_package_here' is not installed"):
        Config.fromfile("c.py")


@pytest.mark.parametrize(("name", "what"), [("c.toml", "not .toml"), ("c", "no extension")])
def test_another_format_is_refused(write, name, what) -> None:
    write(name, "a = 1")

    with pytest.raises(UnsupportedFormatError, match=what):
        Config.fromfile(name)
    with pytest.raises(OSError, match="py, json, yaml or yml"):
        Config.fromstring("a = 1", "toml")


def test_a_folder_is_refused_with_the_configs_in_it(write, tmp_path) -> None:
    write("configs/small.py", "a = 1")
    write("configs/notes.md", "")

    with pytest.raises(UnsupportedFormatError, match=r"this is a folder.\n  In it: small.py$"):
        Config.fromfile("configs")


def test_helpers_in_a_file_leave_no_trace(write) -> None:
    write(
        "c.py",
        """
        import os
        import os.path as osp
        from math import pi, sqrt
        from collections import OrderedDict

        class Scale:
            value = 2

        def double(x):
            return x * Scale.value * factor

        factor = 3
        values = [double(i) for i in range(3)]
        named = {f'k{i}': i for i in values if i}
        total = 0
        for step in range(4):
            total += step
        with open(__file__) as opened:
            first = opened.readline().strip()
        if (half := factor / 2) > 1:
            big = True
        try:
            missing = undefined
        except NameError as error:
            missing = None
        area = pi * sqrt(4)
        path = osp.join('a', 'b')
        ordered = OrderedDict(a=dict(b=1))
        """,
    )

    assert Config.fromfile("c.py") == dict(
        factor=3,
        values=[0, 6, 12],
        named=dict(k6=6, k12=12),
        total=6,
        first="import os",
        big=True,
        missing=None,
        area=2 * 3.141592653589793,
        path="a/b",
        ordered=dict(a=dict(b=1)),
    )


def test_a_name_that_a_loop_and_an_assignment_bind_is_a_key(write) -> None:
    write("c.py", "for i in range(3): pass\ni = 7\nimport os as j\nj = 8")

    assert Config.fromfile("c.py") == dict(i=7, j=8)


def test_bases_may_be_computed_and_used_in_the_next_line(write) -> None:
    write("one.py", "depth = 50\nmodel = dict(layers=[dict(n=1)])")
    write(
        "c.py",
        """
        kind = 'one'
        _base_ = [f'{kind}.py']
        double = _base_.depth * 2
        first = _base_.model.layers[0]
        first.n += 1
        known = 'depth' in _base_
        fallback = _base_.get('nothing', 4)
        """,
    )
    cfg = Config.fromfile("c.py")

    assert (cfg.double, cfg.first.n, cfg.known, cfg.fallback) == (100, 2, True, 4)
    assert cfg.model.layers[0].n == 2


def test_a_config_edits_what_it_inherits_through_base(write) -> None:
    write(
        "base.py", "optim = dict(opt=dict(lr=1, wd=2))\nsteps = [1, 2]\nold = 1\nkeep = dict(a=1)"
    )
    write(
        "c.py",
        """
        _base_ = 'base.py'
        _base_.optim.opt.lr = 0.02
        _base_.steps.append(3)
        _base_['optim']['clip'] = dict(norm=1)
        _base_.new = dict(b=2)
        del _base_.old
        seen = _base_.optim
        seen.opt.eps = 7
        listed = _base_.steps
        listed.append(4)
        copied = {{_base_.keep}}
        copied['a'] = 2
        optim = dict(opt=dict(wd=5))
        """,
    )
    write("d.py", "_base_ = 'base.py'")
    cfg = Config.fromfile("c.py")

    assert cfg.optim == dict(opt=dict(lr=0.02, wd=5, eps=7), clip=dict(norm=1))
    assert cfg.seen == dict(opt=dict(lr=0.02, wd=2, eps=7), clip=dict(norm=1))
    assert cfg.steps == cfg.listed == [1, 2, 3, 4]
    assert cfg.steps is not cfg.listed
    assert (cfg.new.b, "old" in cfg, cfg.copied.a, cfg.keep.a) == (2, False, 2, 1)
    assert Config.fromfile("d.py").optim.opt.lr == 1


def test_an_unknown_value_of_a_base_is_an_error_with_its_line(write) -> None:
    write("a.py", "model = dict(depth=1)")
    write("b.py", "_base_ = 'a.py'\nx = _base_.modle")
    write("c.py", "_base_ = 'a.py'\nx = 1\ny = {{_base_.model.dept}}")
    write("d.yaml", "_base_: a.py\nx: '{{_base_.model.dept}}'")

    with pytest.raises(UnknownBaseValueError, match=r"b.py:2: .*'modle'; did you mean 'model'"):
        Config.fromfile("b.py")
    with pytest.raises(UnknownBaseValueError, match=r"c.py:3: .*'model' has no 'dept'.*'depth'"):
        Config.fromfile("c.py")
    with pytest.raises(UnknownBaseValueError, match=r"d.yaml:2: .*'depth'"):
        Config.fromfile("d.yaml")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "c.py",
            """
            _base_ = 'base.py'
            whole = {{_base_.model}}
            number = {{ _base_.model.depth }}
            listed = [{{_base_.names.1}}, dict(a={{_base_.model.depth}})]
            inside = 'x-{{_base_.model.depth}}-{{_base_.names.0}}/'
            file = '{{fileBasename}}'
            env = {{$DT_UNSET:12}}
            typed = {{'$DT_UNSET:[1, 2]'}}
            quoted = '{{$DT_UNSET:12}}'
            """,
        ),
        (
            "c.yaml",
            """
            _base_: base.py
            whole: {{_base_.model}}
            number: {{ _base_.model.depth }}
            listed: [{{_base_.names.1}}, {a: {{_base_.model.depth}}}]
            inside: 'x-{{_base_.model.depth}}-{{_base_.names.0}}/'
            file: '{{fileBasename}}'
            env: {{$DT_UNSET:12}}
            typed: {{'$DT_UNSET:[1, 2]'}}
            quoted: '{{$DT_UNSET:12}}'
            """,
        ),
        (
            "c.json",
            """
            {
              "_base_": "base.py",
              "whole": {{_base_.model}},
              "number": {{ _base_.model.depth }},
              "listed": [{{_base_.names.1}}, {"a": {{_base_.model.depth}}}],
              "inside": "x-{{_base_.model.depth}}-{{_base_.names.0}}/",
              "file": "{{fileBasename}}",
              "env": {{$DT_UNSET:12}},
              "typed": {{'$DT_UNSET:[1, 2]'}},
              "quoted": "{{$DT_UNSET:12}}"
            }
            """,
        ),
    ],
)
def test_templates_mean_the_same_in_all_formats(write, name, text) -> None:
    write("base.py", "model = dict(depth=50)\nnames = ['a', 'b']")
    write(name, text)
    cfg = Config.fromfile(name)

    assert cfg.pop("file") == name
    assert cfg == dict(
        model=dict(depth=50),
        names=["a", "b"],
        whole=dict(depth=50),
        number=50,
        listed=["b", dict(a=50)],
        inside="x-50-a/",
        env=12,
        typed=[1, 2],
        quoted="12",
    )


def test_templates_inside_strings_of_every_kind(write) -> None:
    write("base.py", 'name = "it\'s"')
    write(
        "c.py",
        """
        _base_ = 'base.py'
        a = "{{_base_.name}}"
        b = r'\\d{{_base_.name}}\\d'
        c = f'{1 + 1}{{_base_.name}}{2 + 2}'
        d = '''x
        {{_base_.name}}'''
        e = b'{{fileExtname}}!'
        f = {'{{_base_.name}}': '{{_base_.name}}' 'z'}  # {{_base_.nothing}} in a comment
        """,
    )
    cfg = Config.fromfile("c.py")

    assert (cfg.a, cfg.b, cfg.c) == ("it's", r"\dit's\d", "2it's4")
    assert (cfg.d, cfg.e, cfg.f) == ("x\nit's", b".py!", {"it's": "it'sz"})


def test_a_dict_does_not_fit_into_a_string(write) -> None:
    write("base.py", "model = dict(depth=50)")
    write("c.py", "_base_ = 'base.py'\nx = 'a{{_base_.model}}'")
    write("c.yaml", "_base_: base.py\nx: 'a{{_base_.model}}'")

    for name in ("c.py", "c.yaml"):
        with pytest.raises(TemplateError, match=rf"{name}:2: .*cannot stand inside a string"):
            Config.fromfile(name)


def test_a_variable_of_the_environment_cannot_become_code(write, monkeypatch) -> None:
    monkeypatch.setenv("DT_EVIL", "__import__('os').abort()")
    monkeypatch.setenv("DT_QUOTE", "' + nothing + '")
    write("c.py", "a = {{$DT_EVIL:1}}\nb = '{{$DT_QUOTE:1}}'")
    write("c.json", '{"a": {{$DT_EVIL:1}}, "b": "{{$DT_QUOTE:1}}"}')
    write("c.yaml", "a: {{$DT_EVIL:1}}\nb: '{{$DT_QUOTE:1}}'")

    for name in ("c.py", "c.json", "c.yaml"):
        cfg = Config.fromfile(name)
        assert cfg == dict(a="__import__('os').abort()", b="' + nothing + '")
        assert set(cfg.env_variables) == {"DT_EVIL", "DT_QUOTE"}


def test_an_unset_variable_without_default_is_an_error_with_its_line(write) -> None:
    write("c.py", "a = 1\nb = '{{$DT_UNSET:}}'")

    with pytest.raises(EnvironmentVariableError, match=r"c.py:2: .*'DT_UNSET' is not set"):
        Config.fromfile("c.py")


def test_templates_can_be_switched_off(write) -> None:
    write("c.py", "a = '{{fileBasename}}'\nb = '{{$DT_UNSET:1}}'")

    cfg = Config.fromfile("c.py", use_predefined_variables=False, use_environment_variables=False)

    assert cfg == dict(a="{{fileBasename}}", b="{{$DT_UNSET:1}}")


def test_what_only_looks_like_a_template_stays(write) -> None:
    write("c.py", "a = '{{ jinja }}'\nb = {1: {2}}\nc = f'{{literal}}'")

    assert Config.fromfile("c.py") == dict(a="{{ jinja }}", b={1: {2}}, c="{literal}")


def test_custom_imports_of_a_chain_add_up(write, monkeypatch, tmp_path) -> None:
    for name in ("dt_mod_a", "dt_mod_b", "dt_mod_c"):
        write(f"{name}.py", "")
    monkeypatch.syspath_prepend(str(tmp_path))
    write("a.py", "custom_imports = dict(imports='dt_mod_a')")
    write("b.py", "custom_imports = dict(imports=['dt_mod_b', 'dt_mod_a'])")
    write("c.py", "_base_ = ['a.py', 'b.py']\ncustom_imports = dict(imports=['dt_mod_c'])")

    cfg = Config.fromfile("c.py")

    assert cfg.custom_imports.imports == ["dt_mod_a", "dt_mod_b", "dt_mod_c"]
    assert {"dt_mod_a", "dt_mod_b", "dt_mod_c"} <= set(sys.modules)
    for name in cfg.custom_imports.imports:
        del sys.modules[name]


def test_a_failed_custom_import_shows_the_original_error(write, monkeypatch, tmp_path) -> None:
    write("dt_broken.py", "import dt_not_there")
    monkeypatch.syspath_prepend(str(tmp_path))
    write("c.py", "custom_imports = dict(imports=['dt_broken'])")
    write("d.py", "custom_imports = dict(imports='dt_broken', allow_failed_imports=True)\na = 1")

    with pytest.raises(ConfigImportError, match="'dt_broken': No module named 'dt_not_there'"):
        Config.fromfile("c.py")
    with pytest.warns(UserWarning, match="No module named 'dt_not_there'"):
        assert Config.fromfile("d.py").a == 1
    assert Config.fromfile("c.py", import_custom_modules=False).custom_imports


def test_a_deprecated_file_warns_and_names_its_successor(write) -> None:
    write("old.py", "_deprecation_ = dict(expected='new.py', reference='the notes')\na = 1")

    with pytest.warns(DeprecationWarning, match=r"old.py is deprecated.*Use new.py.*the notes"):
        assert Config.fromfile("old.py") == dict(a=1)


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("c.py", "a = 1\nb = (", ConfigParseError, r"c.py:2: not valid Python"),
        ("c.json", '{\n"a": 1,\n"b" 2}', ConfigParseError, r"c.json:3: not valid JSON.*column"),
        ("c.yaml", "a: 1\nb: [1", ConfigParseError, r"c.yaml:\d: not valid YAML"),
        ("c.yaml", "- 1\n- 2", ConfigParseError, r"c.yaml:1: .*holds a list"),
        ("c.yaml", "a: !!python/name:os.abort", ConfigParseError, r"c.yaml:1: not valid YAML"),
        ("c.py", "a = 1\n\nb = a / 0", ConfigExecutionError, r"c.py:3: ZeroDivisionError"),
        ("c.py", "depth = 1\nb = dept", ConfigExecutionError, r"c.py:2: .*did you mean 'depth'"),
        ("c.py", "import dt_not_there", ConfigImportError, r"c.py:1: ModuleNotFoundError"),
        ("c.py", "def f():\n    return 1/0\n\na = f()", ConfigExecutionError, r"c.py:2: Zero"),
        ("c.py", "a = 1\nraise SystemExit(3)", ConfigExecutionError, r"c.py:2: SystemExit: 3"),
        ("c.py", "a = _base_.b", ConfigExecutionError, r"c.py:1: .*begin the file with `_base_"),
        ("c.py", "_base_ = 3", Exception, r"c.py:1: `_base_` is a path"),
        (
            "c.py",
            "a = dict()\na['a'] = a",
            RecursionError,
            r"c.py:\d: a: the value contains itself",
        ),
    ],
)
def test_a_bad_file_is_an_error_with_its_line(write, name, text, error, message) -> None:
    write(name, text)

    with pytest.raises(error, match=message):
        Config.fromfile(name, lazy_import=False)


def test_the_original_exception_is_the_cause(write) -> None:
    write("c.py", "a = 1 / 0")

    with pytest.raises(ConfigExecutionError) as caught:
        Config.fromfile("c.py")

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert (caught.value.filename, caught.value.lineno) == ("c.py", 1)


def test_a_failed_load_changes_nothing_around_it(write, tmp_path) -> None:
    write("a.py", "x = 1")
    write(
        "c.py",
        """
        _base_ = 'a.py'
        import os, sys
        os.chdir('/')
        os.environ['DT_LEFT_BEHIND'] = '1'
        sys.path.insert(0, '/nowhere')
        y = 1 / 0
        """,
    )

    before = (list(sys.path), set(sys.modules), os.getcwd(), dict(os.environ))
    with pytest.raises(ConfigExecutionError):
        Config.fromfile(tmp_path / "c.py")

    assert (list(sys.path), set(sys.modules), os.getcwd(), dict(os.environ)) == before


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("c.yaml", "a: 1\nb: {x: 1}\na: 2", 3),
        ("c.yaml", "b:\n  - x: 1\n    x: 2", 3),
        ("c.json", '{"a": {"b": 1,\n\t"b": 2}}', 2),
    ],
)
def test_a_key_that_stands_twice_is_an_error(write, name, text, line) -> None:
    write(name, text)

    with pytest.raises(DuplicateKeyError, match="stands twice in one mapping") as caught:
        Config.fromfile(name)

    assert (caught.value.filename, caught.value.lineno) == (name, line)


def test_yaml_merge_keys_may_be_overridden(write) -> None:
    write("c.yaml", "a: &a {x: 1, y: 1}\nb: &b\n  <<: *a\n  x: 2\nc:\n  <<: *b\n  y: 3\n")

    assert Config.fromfile("c.yaml").c == dict(x=2, y=3)


def test_a_float_with_an_exponent_is_a_number_in_every_format(write) -> None:
    write("c.yaml", "a: 1e-3\nb: 2E5\nc: -1.5e3\nd: '1e-3'\ne: 1e\nf: 12\n")
    cfg = Config.fromfile("c.yaml")

    assert cfg == dict(a=1e-3, b=2e5, c=-1.5e3, d="1e-3", e="1e", f=12)
    assert type(cfg.f) is int
    cfg.dump("d.yaml")
    assert Config.fromfile("d.yaml") == cfg


def test_a_docstring_may_speak_of_styles(write) -> None:
    write("c.py", '"""\n_base_ = \'nothing.py\'\nwith read_base():\n"""\na = 1\n')

    assert Config.fromfile("c.py") == dict(a=1)


def test_text_is_that_of_the_whole_chain(write) -> None:
    write("a.py", "x = 1\n")
    write("b.py", "_base_ = 'a.py'\n")
    cfg = Config.fromfile("b.py")

    assert cfg.text == "a.py\nx = 1\n\nb.py\n_base_ = 'a.py'\n"
    assert cfg.filename == "b.py"


def test_a_string_is_loaded_like_a_file(write) -> None:
    write("a.py", "x = dict(y=1)\n")

    for text, file_format in [
        ("_base_ = 'a.py'\nx = dict(z=2)", "py"),
        ("_base_: a.py\nx: {z: 2}", ".yml"),
        ('{"_base_": "a.py", "x": {"z": 2}}', "json"),
    ]:
        cfg = Config.fromstring(text, file_format)
        assert cfg == dict(x=dict(y=1, z=2))
        assert cfg.filename is None


def test_two_loads_share_nothing(write) -> None:
    write("c.py", "a = dict(b=[1])\nc = a")
    first, second = Config.fromfile("c.py"), Config.fromfile("c.py")

    first.a.b.append(2)

    assert (first.c.b, second.a.b) == ([1], [1])


def test_loading_is_silent(write, capsys) -> None:
    write("c.py", "a = 1")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Config.fromfile("c.py")

    assert capsys.readouterr() == ("", "")


def test_delete_marks_leave_the_elements_of_lists_too(write) -> None:
    write("base.py", "steps = [dict(type='A', n=1)]\nm = dict(k=dict(a=1))")
    write(
        "c.py",
        "_base_ = 'base.py'\nsteps = [dict(_delete_=True, type='B')]\n"
        "m = dict(k=[1, (dict(_delete_=True, b=2),)], _delete_=True)",
    )

    assert Config.fromfile("c.py") == dict(steps=[dict(type="B")], m=dict(k=[1, (dict(b=2),)]))


@pytest.mark.parametrize(
    "text", ["a = '{{$DT_NONE}}'", "a = {{$DT_NONE}}", "a = {{'$DT_NONE'}}", 'a = {{ "$DT_NONE" }}']
)
def test_an_environment_variable_without_a_colon_is_one_too(write, monkeypatch, text) -> None:
    write("c.py", text)

    with pytest.raises(EnvironmentVariableError, match=r"c.py:1: .*write \{\{\$DT_NONE:default"):
        Config.fromfile("c.py")
    monkeypatch.setenv("DT_NONE", "x7")
    assert Config.fromfile("c.py").a == "x7"


@pytest.mark.parametrize(
    ("name", "text"), [("c.py", "a = 1"), ("c.json", '{"a": 1}'), ("c.yml", "a: 1")]
)
def test_a_byte_order_mark_is_no_content(write, name, text) -> None:
    """Some editors write one."""
    write(name, f"\ufeff{text}")

    assert Config.fromfile(name) == dict(a=1)
    assert str(Config.fromfile(name).origin("a")[0]) == f"{name}:1"

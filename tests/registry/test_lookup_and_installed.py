"""Objects by their names, and what is installed in this environment."""

from __future__ import annotations

import os.path
import sys

import pytest

from drivetrain.registry import (
    MissingPrerequisiteError,
    UsageError,
    call_command,
    check_prerequisites,
    deprecated_api_warning,
    deprecated_function,
    digit_version,
    get_installed_path,
    get_object_from_string,
    has_method,
    import_modules_from_strings,
    install_package,
    is_installed,
    is_method_overridden,
    mmcv_full_available,
    package2module,
    requires_executable,
    requires_package,
)


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("0.2.16", (0, 2, 16, 0, 0, 0)),
        ("1.2.3", (1, 2, 3, 0, 0, 0)),
        ("1.2.3rc0", (1, 2, 3, 0, -1, 0)),
        ("1.2.3rc1", (1, 2, 3, 0, -1, 1)),
        ("1.0rc0", (1, 0, 0, 0, -1, 0)),
        ("1.0b1", (1, 0, 0, 0, -2, 1)),
        ("1.0.0a2", (1, 0, 0, 0, -3, 2)),
        ("1.0.dev4", (1, 0, 0, 0, -4, 0)),
        ("1.0.post2", (1, 0, 0, 0, 1, 2)),
        ("v1.8.0+cu111", (1, 8, 0, 0, 0, 0)),
        ("1.2.3.4.5", (1, 2, 3, 4, 0, 0)),
    ],
)
def test_a_version_becomes_numbers(text, digits) -> None:
    assert digit_version(text) == digits


def test_versions_compare_in_the_order_of_their_release() -> None:
    texts = ["1.0.dev1", "1.0a1", "1.0b1", "1.0rc1", "1.0rc2", "1.0", "1.0.post1", "1.0.1", "1.10"]
    shuffled = [texts[index] for index in (3, 8, 0, 5, 2, 7, 1, 6, 4)]
    assert sorted(shuffled, key=digit_version) == texts


@pytest.mark.parametrize("text", ["", "abc", "1..2", "1.0-"])
def test_what_is_no_version_is_refused(text) -> None:
    with pytest.raises(ValueError, match="is no version"):
        digit_version(text)


def test_fewer_places_may_count() -> None:
    assert digit_version("1.2.3", length=2) == (1, 2, 0, 0)


def test_a_package_is_found_by_its_distribution_and_by_its_module() -> None:
    assert is_installed("pytest")
    assert is_installed("_pytest")
    assert not is_installed("no-such-package")
    assert not is_installed("os.no_such_module")


def test_the_folder_of_a_package_is_told() -> None:
    assert os.path.samefile(get_installed_path("pytest"), os.path.dirname(pytest.__file__))
    with pytest.raises(MissingPrerequisiteError, match="'no-such-package' is not installed"):
        get_installed_path("no-such-package")


def test_the_module_of_a_distribution_is_told() -> None:
    assert package2module("pytest") == "pytest"
    with pytest.raises(MissingPrerequisiteError):
        package2module("no-such-package")


def test_a_function_that_needs_a_package_says_which_is_missing() -> None:
    @requires_package(["pytest", "no-such-package"])
    def function() -> int:
        return 1

    @requires_package("pytest")
    def fine() -> int:
        return 1

    assert fine() == 1
    text = r"no-such-package is needed by function\(\)"
    with pytest.raises(ImportError, match=text):
        function()
    with pytest.raises(RuntimeError, match=text):
        function()


def test_a_function_that_needs_a_program_says_which_is_missing() -> None:
    @requires_executable(["no-such-program"])
    def function() -> None: ...

    with pytest.raises(MissingPrerequisiteError, match="no-such-program is needed by function"):
        function()


def test_prerequisites_may_be_anything_that_can_be_checked() -> None:
    @check_prerequisites(["a", "b"], lambda name: name == "a", msg_tmpl="{0} for {1}")
    def function() -> None: ...

    with pytest.raises(MissingPrerequisiteError, match=r"^b for function$"):
        function()


def test_commands_run_and_installed_packages_stay(tmp_path) -> None:
    target = tmp_path / "out"
    call_command([sys.executable, "-c", f"open({str(target)!r}, 'w').close()"])
    assert target.exists()
    install_package("pytest")  # nothing to do
    assert isinstance(mmcv_full_available(), bool)


def test_an_old_name_of_an_argument_warns_and_works() -> None:
    @deprecated_api_warning({"old": "new"}, cls_name="Thing")
    def function(new: int = 0) -> int:
        return new

    with pytest.warns(DeprecationWarning, match=r"Thing\.function: 'old' is now called 'new'"):
        assert function(old=3) == 3
    with pytest.raises(TypeError, match="give only one"):
        function(old=3, new=4)
    assert function(5) == 5


def test_a_function_that_will_go_says_so() -> None:
    @deprecated_function("0.2", "0.3", "Use `other`.")
    def function() -> int:
        """Give one."""
        return 1

    with pytest.warns(DeprecationWarning, match=r"removed in version 0\.3\. Use `other`\."):
        assert function() == 1
    assert ".. deprecated:: 0.2" in (function.__doc__ or "")


def test_modules_are_imported_by_name() -> None:
    assert import_modules_from_strings("os.path") is os.path
    assert import_modules_from_strings(["os.path", "sys"]) == [os.path, sys]
    assert import_modules_from_strings(None) is None
    with pytest.raises(UsageError, match="names of modules"):
        import_modules_from_strings([1])


def test_a_module_that_is_missing_raises_or_is_none() -> None:
    with pytest.raises(ImportError, match="no_such_module"):
        import_modules_from_strings(["os.path", "no_such_module"])
    with pytest.warns(UserWarning, match="no_such_module could not be imported"):
        modules = import_modules_from_strings(["os.path", "no_such_module"], True)
    assert modules == [os.path, None]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("os.path", os.path),
        ("os.path.join", os.path.join),
        ("collections.OrderedDict.update", __import__("collections").OrderedDict.update),
        ("no_such_module.thing", None),
        ("os.no_such_thing", None),
        ("collections.OrderedDict.no_such_thing", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_objects_are_found_by_their_dotted_names(name, found) -> None:
    assert get_object_from_string(name) is found


class Base:
    """Two methods."""

    attribute = 1

    def one(self) -> None: ...

    @classmethod
    def two(cls) -> None: ...


class Derived(Base):
    """One of them anew."""

    def one(self) -> None: ...


def test_methods_are_told_from_attributes_and_from_inherited_ones() -> None:
    assert has_method(Base(), "one")
    assert not has_method(Base(), "attribute")
    assert not has_method(Base(), "three")
    assert is_method_overridden("one", Base, Derived)
    assert is_method_overridden("one", Base, Derived())
    assert not is_method_overridden("two", Base, Derived)
    with pytest.raises(UsageError, match="base_class is a class"):
        is_method_overridden("one", Base(), Derived)

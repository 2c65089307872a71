"""``{{ ... }}`` in config files: file variables, environment variables, values of the bases.

Python files get each template replaced by an expression, so that what a variable contains can never
become code. In JSON and YAML a template becomes a mark in the text, and the mark a value after
parsing, so that it can never become structure.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, NoReturn

from drivetrain.config._errors import EnvironmentVariableError, TemplateError

Kind = Literal["base", "env", "file"]

# Patterns stay text until a file has templates: compiling them takes longer than most loads.
_TEMPLATE = r"""\{\{\s*(?:
        _base_\.(?P<base>[A-Za-z_]\w*(?:\.\w+)*)\s*
      | (?P<file>fileDirname|fileBasenameNoExtension|fileBasename|fileExtname)\s*
      | (?:(?P<quote>['"])\s*)?\$\s*(?P<env>\w+)\s*(?:(?P<default>:[^\n{}]*)|['"]?\s*)
    )\}\}"""
_PYTHON_TOKEN = (
    rf"(?P<template>{_TEMPLATE})"
    + r"""|(?P<comment>\#[^\n]*)|(?P<prefix>\b[rRbBuUfF]{1,2})?(?P<open>\"\"\"|'''|"|')"""
)
_JSON_TOKEN = rf'(?P<template>{_TEMPLATE})|(?P<open>")'
_WORDS = {"true": True, "false": False, "null": None, "none": None}


class Template(NamedTuple):
    """One ``{{ ... }}`` of a file.

    Attributes:
        kind: What it refers to.
        name: Dotted key, variable of the environment, or file variable.
        default: Text after the colon of an environment variable.
        lineno: Line in its file.
    """

    kind: Kind
    name: str
    default: str
    lineno: int


class TemplateContext:
    """Where the values of templates come from, for one file.

    Args:
        filename: The file, as errors name it.
        use_file_variables: Whether ``{{ fileDirname }}`` and its kin are replaced.
        use_environment: Whether ``{{$NAME:default}}`` is replaced.
        refuse_environment: Called instead of reading the environment, if given.
        used_environment: Filled with the variables that were found in the environment.
        templates: Filled with what the file uses.
    """

    def __init__(
        self,
        filename: str,
        *,
        use_file_variables: bool,
        use_environment: bool,
        refuse_environment: Callable[[str, str, int], NoReturn] | None,
        used_environment: dict[str, str],
        templates: list[Template],
    ) -> None:
        self.filename = filename
        self.use_file_variables = use_file_variables
        self.use_environment = use_environment
        self.refuse_environment = refuse_environment
        self.used_environment = used_environment
        self.templates = templates

    def template_of(self, match: re.Match[str], first_line: int = 1) -> Template | None:
        """The template that ``match`` is, or ``None`` if its kind is switched off."""
        lineno = match.string.count("\n", 0, match.start()) + first_line
        if match["base"]:
            template = Template("base", match["base"], "", lineno)
        elif match["file"]:
            if not self.use_file_variables:
                return None
            template = Template("file", match["file"], "", lineno)
        else:
            if not self.use_environment:
                return None
            default = (match["default"] or ":")[1:].strip()
            if match["quote"]:  # trimmed here: a pattern that does it backtracks for ever
                default = default.removesuffix(match["quote"]).rstrip()
            template = Template("env", match["env"], default, lineno)
        self.templates.append(template)
        return template

    def text_of(self, template: Template) -> str:
        """Text of a file variable or an environment variable.

        Raises:
            EnvironmentVariableError: If the variable is not set and has no default.
        """
        if template.kind == "file":
            return _file_variable(template.name, self.filename)
        if self.refuse_environment is not None:
            self.refuse_environment(template.name, self.filename, template.lineno)
        value = os.environ.get(template.name)
        if value is not None:
            self.used_environment[template.name] = value
            return value
        if template.default == "":
            raise EnvironmentVariableError(
                f"environment variable {template.name!r} is not set and has no default; set it, "
                f"or write {{{{${template.name}:default}}}}",
                filename=self.filename,
                lineno=template.lineno,
            )
        return template.default


def _file_variable(name: str, filename: str) -> str:
    """Value of ``fileDirname`` and its kin, with forward slashes on every system."""
    path = os.path.abspath(filename)
    base = os.path.basename(path)
    value = {
        "fileDirname": os.path.dirname(path),
        "fileBasename": base,
        "fileBasenameNoExtension": os.path.splitext(base)[0],
        "fileExtname": os.path.splitext(base)[1],
    }[name]
    return value.replace("\\", "/") if os.sep == "\\" else value


def without_templates(text: str, brace: str) -> str:
    """A dumped text, whose strings stay what they are when it is loaded.

    Args:
        text: Python, JSON or YAML in which only strings hold two braces in a row.
        brace: The brace as an escape sequence of such a string.
    """
    if "{{" not in text:
        return text
    return re.sub(_TEMPLATE, lambda match: "{" + brace + match[0][2:], text, flags=re.VERBOSE)


def typed_value(text: str) -> Any:
    """The number, bool, None, list, ... that ``text`` spells, or ``text`` itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text


def fill_python(text: str, context: TemplateContext) -> str:
    """Python source in which each template is an expression; lines keep their numbers.

    Values of bases become calls of ``__base_value__`` and ``__base_text__``, which whoever runs the
    source provides.
    """
    if "{{" not in text:
        return text
    out: list[str] = []
    position = 0
    token = re.compile(_PYTHON_TOKEN, re.VERBOSE)
    while match := token.search(text, position):
        out.append(text[position : match.start()])
        position = match.end()
        if match["template"]:
            template = context.template_of(match)
            out.append(match[0] if template is None else _python_expression(template, context))
        elif match["open"]:
            out.append(match[0])
            piece, position = _fill_python_string(
                text, position, match["prefix"] or "", match["open"], context
            )
            out.append(piece)
        else:
            out.append(match[0])
    out.append(text[position:])
    return "".join(out)


def _python_expression(template: Template, context: TemplateContext) -> str:
    if template.kind == "base":
        return f"__base_value__({template.name!r})"
    text = context.text_of(template)
    return repr(text if template.kind == "file" else typed_value(text))


def _fill_python_string(
    text: str, start: int, prefix: str, quote: str, context: TemplateContext
) -> tuple[str, int]:
    """The rest of a string literal from ``start``, its templates spliced in as literals."""
    token = re.compile(
        rf"(?P<template>{_TEMPLATE})|(?P<escape>\\.)|(?P<close>{quote})",
        re.VERBOSE | re.DOTALL,
    )
    out: list[str] = []
    position = start
    while match := token.search(text, position):
        out.append(text[position : match.start()])
        position = match.end()
        template = context.template_of(match) if match["template"] else None
        if template is None:
            out.append(match[0])
        else:
            # Neighbouring literals are one literal: 'a{{b}}c' -> 'a' 'value' 'c'.
            spliced = _python_literal(template, prefix, context)
            out.append(f"{quote} {spliced} {prefix}{quote}")
        if match["close"]:
            break
    else:
        position = len(text) if not out else position
    return "".join(out), position


def _python_literal(template: Template, prefix: str, context: TemplateContext) -> str:
    is_bytes = "b" in prefix.lower()
    if template.kind != "base":
        text = context.text_of(template)
        return repr(text.encode() if is_bytes else text)
    if is_bytes:
        raise TemplateError(
            f"{{{{_base_.{template.name}}}}} cannot stand inside a bytes literal",
            filename=context.filename,
            lineno=template.lineno,
        )
    return f"f'{{__base_text__(\"{template.name}\")}}'"


class Marks:
    """Marks that stand for templates while a JSON or YAML text is parsed.

    Args:
        text: The text of the file.
        context: Where values come from.
    """

    def __init__(self, text: str, context: TemplateContext) -> None:
        self._context = context
        self._templates: list[Template] = []
        self._stem = "dttemplate"
        while self._stem in text:
            self._stem += "x"
        self._mark = re.compile(rf"{self._stem}(\d+)([vt])")
        self._base_value: Callable[[str], Any] = _no_base

    def in_json(self, text: str) -> str:
        """``text`` with marks; one outside of a string becomes a string of its own."""
        if "{{" not in text:
            return text
        out: list[str] = []
        position = 0
        token = re.compile(_JSON_TOKEN, re.VERBOSE)
        while match := token.search(text, position):
            out.append(text[position : match.start()])
            position = match.end()
            if match["template"]:
                mark = self._mark_of(match, "v")
                out.append(match[0] if mark is None else f'"{mark}"')
                continue
            end = re.compile(r'(?:[^"\\]|\\.)*"?', re.DOTALL).match(text, position)
            assert end is not None  # the pattern matches the empty string
            first_line = text.count("\n", 0, position) + 1
            out.append('"' + self._marked(end[0], "t", first_line))
            position = end.end()
        out.append(text[position:])
        return "".join(out)

    def in_yaml(self, text: str) -> str:
        """``text`` with marks; whether one stands for a value or for text, the parser knows."""
        return self._marked(text, "v")

    def _marked(self, text: str, form: str, first_line: int = 1) -> str:
        if "{{" not in text:
            return text
        template = re.compile(_TEMPLATE, re.VERBOSE)
        return template.sub(lambda match: self._mark_of(match, form, first_line) or match[0], text)

    def _mark_of(self, match: re.Match[str], form: str, first_line: int = 1) -> str | None:
        template = self._context.template_of(match, first_line)
        if template is None:
            return None
        self._templates.append(template)
        return f"{self._stem}{len(self._templates) - 1}{form}"

    def resolve(self, data: Any, base_value: Callable[[str], Any]) -> Any:
        """``data`` with each mark replaced by its value.

        Args:
            data: What the parser made.
            base_value: Gives a copy of the value of the bases under a dotted key.
        """
        if not self._templates:
            return data
        self._base_value = base_value
        return self._resolve(data)

    def _resolve(self, data: Any) -> Any:
        if isinstance(data, str):
            return self._resolve_text(data)
        if isinstance(data, list):
            return [self._resolve(item) for item in data]
        if isinstance(data, Mapping):
            return {self._resolve(key): self._resolve(item) for key, item in data.items()}
        return data

    def _resolve_text(self, text: str) -> Any:
        if self._stem not in text:
            return text
        whole = self._mark.fullmatch(text)
        if whole and whole[2] == "v":
            return self._value(self._templates[int(whole[1])])
        return self._mark.sub(lambda mark: self._text(self._templates[int(mark[1])]), text)

    def _value(self, template: Template) -> Any:
        if template.kind == "base":
            with self._placed(template):
                return self._base_value(template.name)
        text = self._context.text_of(template)
        return text if template.kind == "file" else typed_value(text)

    def _text(self, template: Template) -> str:
        if template.kind != "base":
            return self._context.text_of(template)
        with self._placed(template):
            return base_text(self._base_value(template.name), template.name)

    @contextmanager
    def _placed(self, template: Template) -> Iterator[None]:
        """Give errors about a template its file and line."""
        try:
            yield
        except TemplateError as err:
            if err.filename is None:
                err.filename, err.lineno = self._context.filename, template.lineno
            raise

    def as_text(self, text: str) -> str:
        """``text``, which its format quoted, with marks that ask for text and not for a value."""
        return self._mark.sub(rf"{self._stem}\1t", text) if self._stem in text else text


def _no_base(name: str) -> Any:
    raise TemplateError(f"{{{{_base_.{name}}}}} is used, but the file has no `_base_`")


def base_text(value: Any, name: str) -> str:
    """``value`` of a base as it reads inside a string.

    Raises:
        TemplateError: If it is a dict or a list: those have no reading in a string.
    """
    if isinstance(value, (dict, list, tuple, set)):
        raise TemplateError(
            f"{{{{_base_.{name}}}}} is a {type(value).__name__} and cannot stand inside a string; "
            "use it without quotes"
        )
    return str(value)

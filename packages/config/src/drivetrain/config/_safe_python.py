"""Python configs of strangers, evaluated and never run.

Allowed are literals, ``dict()``, ``list()``, ``tuple()``, ``set()``, references to names and keys,
arithmetic, and string formatting. Sizes are bounded before anything is computed, so that a short
file cannot make a long day.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any, NoReturn

from drivetrain.config._errors import ConfigError, UnsafeConfigError, nearest_hint
from drivetrain.config._python_file import parse_config
from drivetrain.config._safe import MAX_INT_BITS, MAX_ITEMS, Meter, refuse

_CALLS: dict[str, Callable[..., Any]] = {"dict": dict, "list": list, "tuple": tuple, "set": set}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
}
_FORMAT_SPEC = r"[^{}\d]{0,3}0?\d{0,3}[,_]?(?:\.\d{1,3})?[bcdeEfFgGnosxX%]?"
_PERCENT_SPEC = r"%(?:\(\w+\))?[-#0 +]*(?:\d{0,3})(?:\.\d{1,3})?[diouxXeEfFgGcrsa%]"


def evaluate(
    source: str,
    filename: str,
    on_base: Callable[[Any, int], Any],
    base_value: Callable[[str], Any],
    base_text: Callable[[str], str],
) -> dict[str, Any]:
    """What the assignments of a text-style Python config say, without running it.

    Args:
        source: The text, its templates filled in.
        filename: For errors.
        on_base: Called with the value and the line of ``_base_``; gives what the name then means.
        base_value: Value of the bases under a dotted name.
        base_text: The same, as text.

    Raises:
        UnsafeConfigError: If the file does more than describe data.
        ConfigParseError: If it is not valid Python.
    """
    return _Evaluator(filename, on_base, base_value, base_text).run(parse_config(source, filename))


class _Evaluator:
    def __init__(
        self,
        filename: str,
        on_base: Callable[[Any, int], Any],
        base_value: Callable[[str], Any],
        base_text: Callable[[str], str],
    ) -> None:
        self._filename = filename
        self._on_base = on_base
        self._base_calls = {"__base_value__": base_value, "__base_text__": base_text}
        self._names: dict[str, Any] = {}
        self._base: Any = None
        self._meter = Meter(filename)

    def run(self, tree: ast.Module) -> dict[str, Any]:
        for statement in tree.body:
            try:
                self._statement(statement)
            except ConfigError as err:
                if err.filename is None:
                    err.filename, err.lineno = self._filename, statement.lineno
                raise
            except RecursionError as err:
                raise UnsafeConfigError(
                    "refused, safe=True: nested too deeply",
                    filename=self._filename,
                    lineno=statement.lineno,
                ) from err
            except (TypeError, ValueError, ArithmeticError, LookupError, MemoryError) as err:
                raise UnsafeConfigError(
                    f"cannot be evaluated: {type(err).__name__}: {err}",
                    filename=self._filename,
                    lineno=statement.lineno,
                ) from err
        return self._names

    def _refuse(self, node: ast.AST, what: str) -> NoReturn:
        refuse(what, self._filename, getattr(node, "lineno", None))

    # Statements ---------------------------------------------------------------------------------

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign):
            value = self._value(node.value)
            for target in node.targets:
                self._assign(target, value)
        elif isinstance(node, ast.AnnAssign):
            if any(isinstance(part, ast.Call) for part in ast.walk(node.annotation)):
                self._refuse(node, "a call in an annotation")
            if node.value is not None:
                self._assign(node.target, self._value(node.value))
        elif isinstance(node, ast.AugAssign):
            old = self._value(_as_loaded(node.target))
            self._assign(node.target, self._binary(node, node.op, old, self._value(node.value)))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            pass  # a docstring
        elif not isinstance(node, ast.Pass):
            self._refuse(node, f"a config of data has no `{_keyword(node)}`")

    def _assign(self, target: ast.expr, value: Any) -> None:
        self._meter.require_small(value, target.lineno)
        if isinstance(target, ast.Name):
            if target.id == "_base_":
                self._base = self._on_base(value, target.lineno)
            elif target.id.startswith("__"):
                self._refuse(target, f"a name like {target.id!r} belongs to Python")
            else:
                self._meter.keep(target.id, value, target.lineno)
                self._names[target.id] = value
        elif isinstance(target, ast.Subscript):
            self._set_item(target, self._value(target.value), self._value(target.slice), value)
        elif isinstance(target, ast.Attribute):
            self._set_item(target, self._value(target.value), self._key(target), value)
        elif isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (tuple, list)):
            for each, part in zip(target.elts, value, strict=True):
                self._assign(each, part)
        else:
            self._refuse(target, "an assignment to this form")

    def _set_item(self, node: ast.AST, owner: Any, key: Any, value: Any) -> None:
        if not isinstance(owner, (dict, list)):
            self._refuse(node, f"an assignment into a {type(owner).__name__}")
        owner[key] = value
        self._meter.forget()
        self._meter.require_small(owner, getattr(node, "lineno", None))

    # Expressions --------------------------------------------------------------------------------

    def _value(self, node: ast.AST) -> Any:
        evaluate_node = _EXPRESSIONS.get(type(node))
        if evaluate_node is None:
            self._refuse(node, f"a config of data has no {_spoken(node)}")
        return evaluate_node(self, node)

    def _constant(self, node: ast.Constant) -> Any:
        if type(node.value) is int:
            self._require_small_int(node, node.value)
        return node.value

    def _name(self, node: ast.Name) -> Any:
        if node.id == "_base_" and self._base is not None:
            return self._base
        if node.id not in self._names:
            known = nearest_hint(node.id, self._names)
            self._refuse(node, f"{node.id!r} is no name that the file defines{known}")
        return self._names[node.id]

    def _attribute(self, node: ast.Attribute) -> Any:
        owner = self._value(node.value)
        key = self._key(node)
        if owner is self._base and owner is not None:
            return owner[key]
        if not isinstance(owner, dict):
            self._refuse(node, f"attribute {key!r} of a {type(owner).__name__}")
        return self._lookup(node, owner, key)

    def _key(self, node: ast.Attribute) -> str:
        if node.attr.startswith("__"):
            self._refuse(node, f"attribute {node.attr!r}")
        return node.attr

    def _subscript(self, node: ast.Subscript) -> Any:
        owner, key = self._value(node.value), self._value(node.slice)
        if not isinstance(owner, (dict, list, tuple, str)) and owner is not self._base:
            self._refuse(node, f"an item of a {type(owner).__name__}")
        return self._lookup(node, owner, key)

    def _lookup(self, node: ast.AST, owner: Any, key: Any) -> Any:
        if isinstance(owner, dict) and key not in owner:
            self._refuse(node, f"there is no key {key!r}{nearest_hint(key, owner)}")
        if isinstance(key, slice):
            self._require_length(node, len(owner))
        return owner[key]

    def _slice(self, node: ast.Slice) -> slice:
        ends = (node.lower, node.upper, node.step)
        return slice(*[None if end is None else self._value(end) for end in ends])

    def _sequence(self, node: ast.List | ast.Tuple | ast.Set) -> Any:
        items: list[Any] = []
        for element in node.elts:
            if isinstance(element, ast.Starred):
                inner = self._value(element.value)
                if not isinstance(inner, (list, tuple, set, dict)):
                    self._refuse(element, f"unpacking of a {type(inner).__name__}")
                self._require_length(element, len(items) + len(inner))
                items.extend(inner)
            else:
                items.append(self._value(element))
        self._require_length(node, len(items))
        kinds: dict[type[ast.AST], Callable[[Any], Any]] = {ast.Tuple: tuple, ast.Set: set}
        return kinds[type(node)](items) if type(node) in kinds else items

    def _dict(self, node: ast.Dict) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is not None:
                result[self._value(key)] = self._value(value)
            else:
                result.update(self._mapping(node, self._value(value)))
        self._require_length(node, len(result))
        return result

    def _mapping(self, node: ast.AST, value: Any) -> dict[Any, Any]:
        if not isinstance(value, dict):
            self._refuse(node, f"unpacking of a {type(value).__name__}")
        self._require_length(node, len(value))
        return value

    def _call(self, node: ast.Call) -> Any:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name in self._base_calls and name is not None:
            return self._base_call(node, name)
        if name == "float" and _is_special_float(node):
            return float(ast.literal_eval(node.args[0]))
        if name not in _CALLS or name in self._names:
            self._refuse(node, f"a call of {ast.unparse(node.func)[:40]!r}")
        if len(node.args) > 1:
            self._refuse(node, f"{name}() of more than one value")
        content = [self._value(argument) for argument in node.args]
        if content and not isinstance(content[0], (dict, list, tuple, set, str)):
            self._refuse(node, f"{name}() of a {type(content[0]).__name__}")
        keywords: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self._value(keyword.value)
            if keyword.arg is None:
                keywords.update(self._mapping(node, value))
            else:
                keywords[keyword.arg] = value
        self._require_length(node, sum(map(len, content)) + len(keywords))
        return _CALLS[name](*content, **keywords)

    def _base_call(self, node: ast.Call, name: str) -> Any:
        argument = node.args[0] if len(node.args) == 1 else None
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
            self._refuse(node, f"a call of {name!r}")
        return self._base_calls[name](argument.value)

    def _unary(self, node: ast.UnaryOp) -> Any:
        operand = self._value(node.operand)
        if type(node.op) not in _UNARY:
            self._refuse(node, "this operator")
        return _UNARY[type(node.op)](operand)

    def _binop(self, node: ast.BinOp) -> Any:
        return self._binary(node, node.op, self._value(node.left), self._value(node.right))

    def _binary(self, node: ast.AST, op: ast.operator, left: Any, right: Any) -> Any:
        if type(op) not in _BINARY:
            self._refuse(node, f"the operator {_spoken(op)}")
        for side in (left, right):
            if not isinstance(side, (int, float, str, bytes, list, tuple)):
                self._refuse(node, f"arithmetic with a {type(side).__name__}")
        if isinstance(op, ast.Mod) and isinstance(left, (str, bytes)):
            return self._percent(node, left, right)
        if isinstance(op, ast.Mult):
            self._require_small_product(node, left, right)
        if isinstance(op, ast.Pow):
            self._require_small_power(node, left, right)
        result = _BINARY[type(op)](left, right)
        if isinstance(result, int):
            self._require_small_int(node, result)
        elif isinstance(result, complex):
            self._refuse(node, "a complex result")
        elif not isinstance(result, float):
            self._require_length(node, len(result))
        return result

    def _percent(self, node: ast.AST, template: Any, values: Any) -> str:
        if not isinstance(template, str) or re.sub(_PERCENT_SPEC, "", template).count("%"):
            self._refuse(node, "this kind of %-formatting")
        self._meter.require_small(values, getattr(node, "lineno", None))
        return template % values

    def _joined(self, node: ast.JoinedStr) -> str:
        text = "".join(str(self._value(part)) for part in node.values)
        self._require_length(node, len(text))
        return text

    def _formatted(self, node: ast.FormattedValue) -> str:
        value = self._value(node.value)
        spec = "" if node.format_spec is None else self._value(node.format_spec)
        if not re.fullmatch(_FORMAT_SPEC, spec):
            self._refuse(node, f"the format {spec!r}")
        if node.conversion != -1:
            value = {115: str, 114: repr, 97: ascii}[node.conversion](value)
        if not isinstance(value, (str, int, float)) and spec:
            self._refuse(node, f"the format {spec!r} for a {type(value).__name__}")
        self._meter.require_small(value, node.lineno)
        text = format(value, spec)
        self._require_length(node, len(text))
        return text

    # Limits -------------------------------------------------------------------------------------

    def _require_length(self, node: ast.AST, length: int) -> None:
        if length > MAX_ITEMS:
            self._refuse(node, f"a value of {length} items")
        self._meter.spend(length, getattr(node, "lineno", None))

    def _require_small_int(self, node: ast.AST, value: int) -> None:
        if value.bit_length() > MAX_INT_BITS:
            self._refuse(node, f"an integer of more than {MAX_INT_BITS} bits")

    def _require_small_product(self, node: ast.AST, left: Any, right: Any) -> None:
        for sequence, count in ((left, right), (right, left)):
            if isinstance(sequence, (str, bytes, list, tuple)) and isinstance(count, int):
                self._require_length(node, len(sequence) * max(count, 0))

    def _require_small_power(self, node: ast.AST, base: Any, exponent: Any) -> None:
        if isinstance(base, int) and isinstance(exponent, int):
            bits = base.bit_length() * abs(exponent)
            if abs(base) > 1 and bits > MAX_INT_BITS:
                self._refuse(node, f"a power of about {bits} bits")


_EXPRESSIONS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Attribute: _Evaluator._attribute,
    ast.BinOp: _Evaluator._binop,
    ast.Call: _Evaluator._call,
    ast.Constant: _Evaluator._constant,
    ast.Dict: _Evaluator._dict,
    ast.FormattedValue: _Evaluator._formatted,
    ast.JoinedStr: _Evaluator._joined,
    ast.List: _Evaluator._sequence,
    ast.Name: _Evaluator._name,
    ast.Set: _Evaluator._sequence,
    ast.Slice: _Evaluator._slice,
    ast.Subscript: _Evaluator._subscript,
    ast.Tuple: _Evaluator._sequence,
    ast.UnaryOp: _Evaluator._unary,
}


def _is_special_float(node: ast.Call) -> bool:
    """Whether ``node`` is ``float('inf')`` or its like: how infinity is written in a config."""
    return (
        len(node.args) == 1
        and not node.keywords
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value in ("inf", "-inf", "nan")
    )


def _as_loaded(target: ast.expr) -> ast.expr:
    """The target of ``x += 1`` as an expression that reads ``x``."""
    if not isinstance(target, (ast.Name, ast.Attribute, ast.Subscript)):
        return target
    return ast.parse(ast.unparse(target), mode="eval").body


def _keyword(node: ast.stmt) -> str:
    if isinstance(node, ast.Expr):
        return ast.unparse(node)[:40]
    names = {ast.FunctionDef: "def", ast.ClassDef: "class", ast.ImportFrom: "import"}
    return names.get(type(node), type(node).__name__.lower())  # type: ignore[call-overload]


def _spoken(node: ast.AST) -> str:
    """``ListComp`` as "list comp"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(node).__name__).lower()

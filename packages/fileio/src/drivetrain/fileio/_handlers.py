"""Formats: how an object becomes text or bytes, and back."""

from __future__ import annotations

import difflib
import json
import pickle
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import IO, Any, TypeVar, cast

from drivetrain.fileio._errors import BackendRegistrationError, UnknownFormatError

HandlerType = TypeVar("HandlerType", bound="type[BaseFileHandler]")


class BaseFileHandler(ABC):
    """One format.

    Attributes:
        str_like: Whether the format is text (True) or bytes (False).
    """

    str_like = True

    @abstractmethod
    def load_from_fileobj(self, file: IO[Any], **kwargs: Any) -> Any:
        """Read one object from an open file."""

    @abstractmethod
    def dump_to_fileobj(self, obj: Any, file: IO[Any], **kwargs: Any) -> None:
        """Write one object into an open file."""

    @abstractmethod
    def dump_to_str(self, obj: Any, **kwargs: Any) -> str | bytes:
        """Return one object as text, or bytes for a format that is not text."""

    def load_from_path(self, filepath: str, mode: str = "r", **kwargs: Any) -> Any:
        """Read one object from a local file."""
        encoding = None if "b" in mode else "utf-8"
        with open(filepath, mode, encoding=encoding) as file:
            return self.load_from_fileobj(file, **kwargs)

    def dump_to_path(self, obj: Any, filepath: str, mode: str = "w", **kwargs: Any) -> None:
        """Write one object to a local file."""
        encoding = None if "b" in mode else "utf-8"
        with open(filepath, mode, encoding=encoding) as file:
            self.dump_to_fileobj(obj, file, **kwargs)


class JsonHandler(BaseFileHandler):
    """JSON. Sets, ranges, tuples and NumPy values are written as lists and numbers."""

    def load_from_fileobj(self, file: IO[Any], **kwargs: Any) -> Any:
        """Read JSON from an open file."""
        return json.load(file, **kwargs)

    def dump_to_fileobj(self, obj: Any, file: IO[Any], **kwargs: Any) -> None:
        """Write JSON into an open file."""
        kwargs.setdefault("default", _as_json)
        json.dump(obj, file, **kwargs)

    def dump_to_str(self, obj: Any, **kwargs: Any) -> str:
        """Return JSON."""
        kwargs.setdefault("default", _as_json)
        return json.dumps(obj, **kwargs)


class PickleHandler(BaseFileHandler):
    """Pickle. Reading runs code that the file names: read only files that you trust."""

    str_like = False

    def load_from_fileobj(self, file: IO[Any], **kwargs: Any) -> Any:
        """Unpickle from an open file."""
        return pickle.load(file, **kwargs)

    def load_from_path(self, filepath: str, mode: str = "rb", **kwargs: Any) -> Any:
        """Unpickle from a local file."""
        return super().load_from_path(filepath, mode, **kwargs)

    def dump_to_fileobj(self, obj: Any, file: IO[Any], **kwargs: Any) -> None:
        """Pickle into an open file, with protocol 2 unless another is given."""
        kwargs.setdefault("protocol", 2)
        pickle.dump(obj, file, **kwargs)

    def dump_to_str(self, obj: Any, **kwargs: Any) -> bytes:
        """Return the pickle, with protocol 2 unless another is given."""
        kwargs.setdefault("protocol", 2)
        return pickle.dumps(obj, **kwargs)

    def dump_to_path(self, obj: Any, filepath: str, mode: str = "wb", **kwargs: Any) -> None:
        """Pickle to a local file."""
        super().dump_to_path(obj, filepath, mode, **kwargs)


class YamlHandler(BaseFileHandler):
    """YAML, read and written as plain data; ``Loader=`` and ``Dumper=`` choose another way."""

    def load_from_fileobj(self, file: IO[Any], **kwargs: Any) -> Any:
        """Read YAML from an open file."""
        import yaml  # lazily: json and pickle users never need it

        kwargs.setdefault("Loader", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return yaml.load(file, **kwargs)

    def dump_to_fileobj(self, obj: Any, file: IO[Any], **kwargs: Any) -> None:
        """Write YAML into an open file, keys in their order unless ``sort_keys=True``."""
        import yaml  # lazily: see load_from_fileobj

        kwargs.setdefault("Dumper", _plain_dumper())
        kwargs.setdefault("sort_keys", False)
        yaml.dump(obj, file, **kwargs)

    def dump_to_str(self, obj: Any, **kwargs: Any) -> str:
        """Return YAML."""
        import yaml  # lazily: see load_from_fileobj

        kwargs.setdefault("Dumper", _plain_dumper())
        kwargs.setdefault("sort_keys", False)
        return yaml.dump(obj, **kwargs)


_handlers: dict[str, BaseFileHandler] = {
    "json": JsonHandler(),
    "yaml": YamlHandler(),
    "yml": YamlHandler(),
    "pickle": PickleHandler(),
    "pkl": PickleHandler(),
}


def register_handler(
    file_formats: str | Sequence[str], force: bool = True, **kwargs: Any
) -> Callable[[HandlerType], HandlerType]:
    r"""Decorate a handler class so that `load` and `dump` use it for these formats.

    Args:
        file_formats: File name endings without the dot.
        force: Replace a handler that is registered for one of them.
        **kwargs: For the handler's constructor.

    Raises:
        TypeError: If the class is no `BaseFileHandler`, or a format is no string.
        BackendRegistrationError: If a format has a handler and ``force`` is False.

    Example:
        >>> @register_handler(["txt", "log"])
        ... class LinesHandler(BaseFileHandler):
        ...     def load_from_fileobj(self, file):
        ...         return file.read().splitlines()
        ...
        ...     def dump_to_fileobj(self, obj, file):
        ...         file.write("\n".join(obj))
        ...
        ...     def dump_to_str(self, obj):
        ...         return "\n".join(obj)
    """
    formats = [file_formats] if isinstance(file_formats, str) else list(file_formats)
    if not all(isinstance(name, str) for name in formats):
        raise TypeError(f"register_handler: formats must be strings, got {formats!r}")

    def register(handler_type: HandlerType) -> HandlerType:
        if not isinstance(handler_type, type) or not issubclass(handler_type, BaseFileHandler):
            raise TypeError(f"register_handler: {handler_type!r} must derive from BaseFileHandler")
        taken = [name for name in formats if name in _handlers]
        if taken and not force:
            raise BackendRegistrationError(
                f"formats {taken} have a handler; force=True replaces it"
            )
        handler = cast("Any", handler_type)(**kwargs)  # the checker sees only the abstract base
        _handlers.update(dict.fromkeys(formats, handler))
        return handler_type

    return register


def handler_for(file_format: str) -> BaseFileHandler:
    """Return the handler of a format.

    Raises:
        UnknownFormatError: If there is none.
    """
    try:
        return _handlers[file_format]
    except KeyError:
        near = difflib.get_close_matches(file_format, _handlers, n=1)
        hint = f"  Did you mean:  {near[0]!r}\n" if near else ""
        raise UnknownFormatError(
            f"no handler for the file format {file_format!r}\n{hint}"
            f"  Known formats: {', '.join(sorted(_handlers))}\n"
            "  Your own?      decorate a BaseFileHandler with register_handler(...)"
        ) from None


def _as_json(obj: Any) -> Any:
    if isinstance(obj, (set, frozenset, range)):
        return list(obj)
    numpy = sys.modules.get("numpy")  # a NumPy value can only exist where NumPy is loaded
    if numpy is not None and isinstance(obj, (numpy.ndarray, numpy.generic)):
        return obj.tolist()
    raise TypeError(f"JSON cannot hold {type(obj).__name__} ({obj!r:.80}); convert it first")


def _plain_dumper() -> type:
    import yaml  # lazily: see YamlHandler

    base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    dumper: Any = type("PlainDumper", (base,), {})
    # Subclasses (OrderedDict, a config's dict) are written as what they are: a mapping, a list, a
    # string.
    dumper.add_multi_representer(dict, base.represent_dict)
    dumper.add_multi_representer(list, base.represent_list)
    dumper.add_multi_representer(tuple, base.represent_list)
    dumper.add_multi_representer(str, base.represent_str)
    return dumper

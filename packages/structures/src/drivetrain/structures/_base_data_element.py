"""One element: facts about a sample, and its data, in two groups of named fields."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from drivetrain.structures._errors import FieldNameError, FieldTypeError
from drivetrain.structures._safe_loading import allow_arrays, allow_element
from drivetrain.structures._text import element_text

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on; checkers bring it

_GROUPS = ("_metainfo_fields", "_data_fields")
_MISSING = object()


class BaseDataElement:
    """Named values about one sample, in two groups.

    *Meta information* are facts, such as a file name or an image's shape; they come in through
    ``metainfo`` and `set_metainfo`, and are copied. *Data* are annotations or predictions: tensors,
    arrays, lists, other elements; they come in as keyword arguments, by assignment of an attribute,
    or through `set_data`. A name belongs to one group only. Fields keep the order of their arrival.

    Tensor methods (`to`, `cpu`, `cuda`, `detach`, `numpy`, …) return a new element whose data went
    through that method; meta information is carried over.

    A subclass may declare typed fields as properties, see `set_field`.

    Elements are data: a process that has imported their class restores them with
    ``torch.load(..., weights_only=True)``, arrays of numbers and text inside them too.

    Args:
        metainfo: Facts by name.
        **kwargs: Data by name.

    Example:
        >>> sample = BaseDataElement(metainfo={"img_shape": (4, 6)}, scores=torch.ones(2))
        >>> sample.img_shape, sample.keys(), "scores" in sample
        ((4, 6), ['scores'], True)
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        allow_element(cls)

    def __init__(self, *, metainfo: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self._metainfo_fields: set[str] = set()
        self._data_fields: set[str] = set()
        if metainfo is not None:
            self.set_metainfo(metainfo)
        if kwargs:
            self.set_data(kwargs)

    # Fields come and go

    def set_metainfo(self, metainfo: Mapping[str, Any]) -> None:
        """Set facts by name; they are copied deeply.

        Args:
            metainfo: Names and values.

        Raises:
            FieldTypeError: If ``metainfo`` is no mapping.
            FieldNameError: If data has one of the names.
        """
        if not isinstance(metainfo, Mapping):
            raise FieldTypeError(f"metainfo must be a dict, got {type(metainfo).__name__}")
        for name, value in copy.deepcopy(dict(metainfo)).items():
            self.set_field(value, name, field_type="metainfo")

    def set_data(self, data: Mapping[str, Any]) -> None:
        """Set data by name; nothing is copied.

        Args:
            data: Names and values.

        Raises:
            FieldTypeError: If ``data`` is no mapping.
            FieldNameError: If a fact has one of the names.
        """
        if not isinstance(data, Mapping):
            raise FieldTypeError(f"data must be a dict, got {type(data).__name__}")
        for name, value in data.items():
            if name in self._metainfo_fields:
                raise _taken(self, name, "data", "meta information")
            # Through setattr: a subclass checks values there, and properties have setters.
            setattr(self, name, value)

    def update(self, instance: BaseDataElement) -> None:
        """Take over all fields of another element.

        Args:
            instance: The element whose facts are copied and whose data is shared; it wins where
                both have a field.

        Raises:
            FieldTypeError: If ``instance`` is none.
            FieldNameError: If a name is data in one of them and a fact in the other.
        """
        if not isinstance(instance, BaseDataElement):
            raise FieldTypeError(f"update takes a BaseDataElement, got {type(instance).__name__}")
        self.set_metainfo(dict(instance.metainfo_items()))
        self.set_data(dict(instance.items()))

    def set_field(
        self,
        value: Any,
        name: str,
        dtype: type | tuple[type, ...] | None = None,
        field_type: Literal["metainfo", "data"] = "data",
    ) -> None:
        """Set one field; meant for the setters of properties.

        Args:
            value: The value.
            name: Of the field. A property ``masks`` keeps its value in the field ``_masks``.
            dtype: What ``value`` must be an instance of.
            field_type: The group.

        Raises:
            FieldTypeError: If ``value`` is of another type.
            FieldNameError: If the name belongs to the other group.
            ValueError: If there is no such group.

        Example:
            >>> class Detection(BaseDataElement):
            ...     @property
            ...     def boxes(self):
            ...         return self._boxes
            ...
            ...     @boxes.setter
            ...     def boxes(self, value):
            ...         self.set_field(value, "_boxes", dtype=torch.Tensor)
            ...
            ...     @boxes.deleter
            ...     def boxes(self):
            ...         del self._boxes
        """
        if dtype is not None and not isinstance(value, dtype):
            raise FieldTypeError(
                f"{type(self).__name__}.{name.lstrip('_')} takes {_type_names(dtype)}, "
                f"got {type(value).__name__}"
            )
        if field_type == "metainfo":
            if name in self._data_fields:
                raise _taken(self, name, "meta information", "data")
            group = self._metainfo_fields
        elif field_type == "data":
            if name in self._metainfo_fields:
                raise _taken(self, name, "data", "meta information")
            group = self._data_fields
        else:
            raise ValueError(f"field_type must be 'metainfo' or 'data', got {field_type!r}")
        object.__setattr__(self, name, value)
        group.add(name)  # last: a property's setter may refuse the value

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field's value, or ``default``.

        Args:
            key: Name of a field.
            default: Returned where there is none.
        """
        return getattr(self, key) if key in self else default

    def pop(self, *args: Any) -> Any:
        """Remove a field and return its value: ``pop(name)`` or ``pop(name, default)``.

        Args:
            *args: The name, then maybe what to return where there is no such field.

        Returns:
            The value, or the default.

        Raises:
            KeyError: If there is no such field and no default.
            TypeError: If there are no arguments, or more than two.
        """
        if not 1 <= len(args) <= 2:
            raise TypeError(f"pop takes a name and maybe a default, got {len(args)} arguments")
        name = args[0]
        if name in self:
            value = getattr(self, name)
            delattr(self, name)
            return value
        if len(args) == 2:
            return args[1]
        raise KeyError(f"{type(self).__name__} has no field {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _GROUPS:
            if name in self.__dict__:
                raise FieldNameError(f"{name} is reserved; it lists the names of the fields")
            object.__setattr__(self, name, value)
            return
        is_fact = name in self._metainfo_fields
        self.set_field(value, name, field_type="metainfo" if is_fact else "data")

    def __delattr__(self, name: str) -> None:
        if name in _GROUPS:
            raise FieldNameError(f"{name} is reserved; it lists the names of the fields")
        object.__delattr__(self, name)
        self._metainfo_fields.discard(name)
        self._data_fields.discard(name)

    def __contains__(self, item: object) -> bool:
        return item in self._data_fields or item in self._metainfo_fields

    # Looking around

    def keys(self) -> list[str]:
        """Names of the data."""
        return self._ordered(self._data_fields)

    def values(self) -> list[Any]:
        """Values of the data."""
        return [getattr(self, name) for name in self.keys()]

    def items(self) -> Iterator[tuple[str, Any]]:
        """Names and values of the data."""
        for name in self.keys():
            yield name, getattr(self, name)

    def metainfo_keys(self) -> list[str]:
        """Names of the meta information."""
        return self._ordered(self._metainfo_fields)

    def metainfo_values(self) -> list[Any]:
        """Values of the meta information."""
        return [getattr(self, name) for name in self.metainfo_keys()]

    def metainfo_items(self) -> Iterator[tuple[str, Any]]:
        """Names and values of the meta information."""
        for name in self.metainfo_keys():
            yield name, getattr(self, name)

    def all_keys(self) -> list[str]:
        """Names of meta information and data."""
        return self.metainfo_keys() + self.keys()

    def all_values(self) -> list[Any]:
        """Values of meta information and data."""
        return self.metainfo_values() + self.values()

    def all_items(self) -> Iterator[tuple[str, Any]]:
        """Names and values of meta information and data."""
        yield from self.metainfo_items()
        yield from self.items()

    @property
    def metainfo(self) -> dict[str, Any]:
        """The meta information as a new dict."""
        return dict(self.metainfo_items())

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as a dict; elements inside become dicts, too."""
        return {
            name: value.to_dict() if isinstance(value, BaseDataElement) else value
            for name, value in self.all_items()
        }

    def __repr__(self) -> str:
        groups = {
            "META INFORMATION": dict(self.metainfo_items()),
            "DATA FIELDS": dict(self.items()),
        }
        return element_text(self, groups)

    # New elements

    def new(self, *, metainfo: Mapping[str, Any] | None = None, **kwargs: Any) -> Self:
        """Return an element of the same type.

        Args:
            metainfo: Its facts; those of this element if None.
            **kwargs: Its data; that of this element if none is given.
        """
        element = type(self)()
        element.set_metainfo(self.metainfo if metainfo is None else metainfo)
        element.set_data(kwargs or dict(self.items()))
        return element

    def clone(self) -> Self:
        """Return a deep copy; a tensor's copy stays connected to its graph."""
        return self.new(**{name: _cloned(value) for name, value in self.items()})

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Apply ``to(...)`` to all data that has such a method.

        Args:
            *args: Arguments of ``Tensor.to``: a device, a dtype or a tensor.
            **kwargs: Arguments of ``Tensor.to``, such as ``non_blocking``.

        Returns:
            A new element of the same type; this one is not changed.
        """
        return self._mapped(
            lambda value: value.to(*args, **kwargs) if hasattr(value, "to") else value
        )

    def cpu(self) -> Self:
        """Move all tensors to the CPU.

        Returns:
            A new element of the same type; this one is not changed.
        """
        return self._on_tensors("cpu")

    def cuda(self) -> Self:
        """Move all tensors to the current CUDA device.

        Returns:
            A new element of the same type; this one is not changed.
        """
        return self._on_tensors("cuda")

    def npu(self) -> Self:
        """Move all tensors to the current Ascend NPU.

        Returns:
            A new element of the same type; this one is not changed.
        """
        return self._on_tensors("npu")

    def mlu(self) -> Self:
        """Move all tensors to the current Cambricon MLU.

        Returns:
            A new element of the same type; this one is not changed.
        """
        return self._on_tensors("mlu")

    def musa(self) -> Self:
        """Move all tensors to the current Moore Threads GPU.

        Returns:
            A new element of the same type; this one is not changed.
        """
        return self._on_tensors("musa")

    def detach(self) -> Self:
        """Detach all tensors from their graphs.

        Returns:
            A new element of the same type; this one is not changed.
        """
        return self._on_tensors("detach")

    def numpy(self) -> Self:
        """Turn all tensors into NumPy arrays.

        Returns:
            A new element of the same type; this one is not changed.
        """

        def convert(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return value.detach().cpu().numpy()
            return value.numpy() if isinstance(value, BaseDataElement) else value

        return self._mapped(convert)

    def to_tensor(self) -> Self:
        """Turn all NumPy arrays into tensors that share their memory.

        Returns:
            A new element of the same type; this one is not changed.
        """

        def convert(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                return torch.from_numpy(value)
            return value.to_tensor() if isinstance(value, BaseDataElement) else value

        return self._mapped(convert)

    def _on_tensors(self, method: str) -> Self:
        kinds = (torch.Tensor, BaseDataElement)
        return self._mapped(lambda v: getattr(v, method)() if isinstance(v, kinds) else v)

    def _mapped(self, convert: Callable[[Any], Any]) -> Self:
        element = type(self)()
        element.set_metainfo(self.metainfo)
        element.set_data({name: convert(value) for name, value in self.items()})
        return element

    def _ordered(self, group: set[str]) -> list[str]:
        """Names in the order of their arrival; a property stands for the field that it keeps."""
        names = []
        for name in self.__dict__:
            public = name[1:]
            if name.startswith("_") and public in group and _is_property(self, public):
                names.append(public)
            elif name in group:
                names.append(name)
        return names


allow_element(BaseDataElement)
allow_arrays()


def _is_property(element: BaseDataElement, name: str) -> bool:
    return isinstance(getattr(type(element), name, None), property)


def _cloned(value: Any) -> Any:
    if isinstance(value, (torch.Tensor, BaseDataElement)):
        return value.clone()
    return copy.deepcopy(value)


def _taken(element: BaseDataElement, name: str, wanted: str, owner: str) -> FieldNameError:
    return FieldNameError(
        f"{type(element).__name__}: {name!r} cannot become {wanted}, it is {owner} already; "
        "delete it first or choose another name"
    )


def _type_names(dtype: type | tuple[type, ...]) -> str:
    kinds = dtype if isinstance(dtype, tuple) else (dtype,)
    return " or ".join(kind.__name__ for kind in kinds)

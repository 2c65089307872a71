"""Every error of the package.

::

    RegistryError
    ├── UnknownComponentError     KeyError        no component has that name
    ├── ComponentArgumentError    TypeError       a missing, unknown or doubled argument
    ├── ComponentBuildError       (the original)  the component itself raised while being built
    ├── NodeError                 TypeError       what was given is no node
    ├── DuplicateNameError        KeyError        the name, or the scope, is taken
    ├── RegistrationError         TypeError       what was given cannot be registered
    └── InstanceError             RuntimeError    a named instance is missing, or exists already
"""

from __future__ import annotations


class RegistryError(Exception):
    """Whatever goes wrong in a registry."""

    def __str__(self) -> str:  # KeyError shows repr(message): newlines would come out as \n
        return str(self.args[0]) if self.args else ""


class UnknownComponentError(RegistryError, KeyError):
    """A config names a component that nothing installed offers."""


class ComponentArgumentError(RegistryError, TypeError):
    """A node's keys do not fit the arguments of its component."""


class ComponentBuildError(RegistryError):
    """A component raised while it was built; the original is the cause."""


class NodeError(RegistryError, TypeError):
    """Something stands where a node is expected, and is none."""


class DuplicateNameError(RegistryError, KeyError):
    """A name is registered already, or a scope has a child registry already."""


class RegistrationError(RegistryError, TypeError):
    """What was passed to ``register_module`` cannot be registered."""


class InstanceError(RegistryError, RuntimeError):
    """A named instance does not exist yet, or exists and cannot take new arguments."""

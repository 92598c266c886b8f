from __future__ import annotations

import inspect

from mls import errors
from mls.errors import LocalError, MLSError, PeerError

CLASSES = [member for _, member in inspect.getmembers(errors, inspect.isclass) if member.__module__ == "mls.errors"]


def test_every_error_is_ours_or_theirs() -> None:
    for error in CLASSES:
        assert issubclass(error, MLSError)
        assert error is MLSError or issubclass(error, LocalError) != issubclass(error, PeerError)


def test_the_tree_in_the_docstring_and_the_exports_are_complete() -> None:
    names = {error.__name__ for error in CLASSES}

    assert set(errors.__all__) == names
    assert errors.__doc__ is not None
    assert all(name in errors.__doc__ for name in names)

from __future__ import annotations

import inspect

from room_server import errors
from room_server.errors import NodeError


def test_every_error_has_the_one_base_and_stands_in_the_tree() -> None:
    classes = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]

    assert all(issubclass(value, NodeError) for value in classes)
    assert errors.__doc__ is not None
    assert [value.__name__ for value in classes if value.__name__ not in errors.__doc__] == []

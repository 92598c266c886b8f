from __future__ import annotations

import pytest

from vr.storage import errors


@pytest.mark.parametrize(
    "leaf",
    [
        errors.StoragePoisoned,
        errors.RecordTooLarge,
        errors.FolderInUse,
        errors.FolderEmpty,
        errors.WrongFolder,
        errors.HistoryUnusable,
    ],
)
def test_every_error_can_be_caught_as_a_storage_error_and_stands_in_the_tree(leaf: type[Exception]) -> None:
    assert issubclass(leaf, errors.StorageError)
    assert leaf.__name__ in (errors.__doc__ or "")

from __future__ import annotations

from wire import ids


def test_sizes_are_those_of_the_table() -> None:
    table = {
        cells[1].strip(" `"): cells[2].strip()
        for line in (ids.__doc__ or "").splitlines()
        if len(cells := line.split("|")) > 3
    }

    assert table["RoomId"] == str(ids.ROOM_ID_BYTES)
    assert table["NodeKey"] == str(ids.NODE_KEY_BYTES)
    assert table["ClientId"] == str(ids.CLIENT_ID_BYTES)


def test_every_identifier_is_in_the_table() -> None:
    for name, value in vars(ids).items():
        if hasattr(value, "__supertype__"):
            assert f"`{name}`" in (ids.__doc__ or "")

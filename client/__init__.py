"""The client library: people, devices and rooms. Everything secret is known here and nowhere else.

`connection` is a standing connection to a room of opaque entries and knows no MLS; `room_core` is one room as this device
sees it, sans-IO; `room` and `client` are the shells around both.
"""

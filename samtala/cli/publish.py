"""`samtala room publish`: a room's signed record as a file, for a web server's folder or to hand on."""

from __future__ import annotations

import functools
from pathlib import Path

import click
import trio

from client.client import Client
from client.discovery import Discovery, version_text
from client.errors import PreconditionError, UnavailableError
from client.name_records import record_name, record_text
from client.well_known import record_path
from samtala.cli.run import open_in_time, opened, run, with_json, with_timeout
from samtala.cli.settings import Settings
from samtala.cli.show import put, put_json, say


@click.command()
@click.argument("which", metavar="ROOM|LINK")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--dns", "is_dns", is_flag=True, help="Also print it as a DNS record.")
@with_timeout
@with_json
@click.pass_obj
def publish(settings: Settings, which: str, folder: Path, *, is_dns: bool, timeout_s: float, as_json: bool) -> None:
    """Write where ROOM is into FOLDER, the root of a web server; prints the file's path.

    The file is signed by the room's owner and sealed: only who has the link can read it, nobody can change it. People
    find the room with `samtala --web-host HOST …`, or are handed the file: `samtala --descriptor FILE …`. Write it
    again when the room has other servers.
    """

    async def command() -> None:
        async with opened(settings) as client:
            search = await _newest(client, which, timeout_s)
            if search.best is None:
                raise search.nobody()
            item = search.best.item
            path = folder / record_path(item.target).lstrip("/")
            write_record(path, item.to_bytes())
            if is_dns and not as_json:
                strings = " ".join(f'"{part.decode()}"' for part in record_text(item.to_bytes()))
                put(f"{record_name('HOST')} TXT {strings}")
            if as_json:
                put_json({"path": str(path), "version": version_text(item.seq), "addresses": len(search.best.servers)})
                return
            put(str(path))
            say(f"Version {version_text(item.seq)}, {len(search.best.servers)} addresses.")

    run(command)


async def _newest(client: Client, which: str, timeout_s: float) -> Discovery:
    link = (
        which if ":" in which else (await open_in_time(client, timeout_s, functools.partial(client.room, which))).link
    )
    with trio.move_on_after(timeout_s):
        return await client.locate(link)
    if client.last_search is None:
        raise UnavailableError(f"nobody answered within {timeout_s:g} s")
    return client.last_search


def write_record(path: Path, data: bytes) -> None:
    """Written aside and renamed: a web server may read it at any time.

    Raises:
        PreconditionError: it cannot be written there.
    """
    draft = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        raise PreconditionError(f"{path} cannot be written: {error.strerror}") from error

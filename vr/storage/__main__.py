"""`python -m vr.storage inspect DIR`: look into a data folder without touching it."""

from __future__ import annotations

import argparse
import sys

from vr.storage.file_system import RealFileSystem
from vr.storage.inspection import inspect_folder


def main() -> int:
    """Parse the command line; 0, or 1 when the folder cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m vr.storage", description="Look into a data folder; reads only.")
    commands = parser.add_subparsers(required=True)
    inspect = commands.add_parser("inspect", help="identity, segments, groups and damage")
    inspect.add_argument("directory")
    arguments = parser.parse_args()
    try:
        for line in inspect_folder(RealFileSystem(), arguments.directory):
            sys.stdout.write(line + "\n")
    except OSError as error:
        sys.stderr.write(f"{arguments.directory} cannot be read: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

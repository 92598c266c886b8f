"""`python -m vr.storage inspect|verify DIR`: look into a data folder without touching it.

`inspect` says what it holds, `verify` whether all of it is whole: exit code 0 if it is, 1 with a line for each finding, 2 if
the folder cannot be read.
"""

from __future__ import annotations

import argparse
import os
import sys
from itertools import islice

from vr.storage.file_system import RealFileSystem
from vr.storage.inspection import inspect_folder
from vr.storage.verification import Verified, verify_folder


def main() -> int:
    """Parse the command line; 0, 1 for damage, 2 when the folder cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m vr.storage", description="Look into a data folder; reads only.")
    commands = parser.add_subparsers(required=True)
    inspect = commands.add_parser("inspect", help="identity, segments, groups and damage")
    inspect.set_defaults(action=_inspect)
    verify = commands.add_parser(
        "verify", help="check every frame, operation and checkpoint; 1 when something is wrong"
    )
    verify.set_defaults(action=_verify)
    verify.add_argument("--gently", action="store_true", help="at the lowest priority, beside a node that runs")
    verify.add_argument("--most", type=int, default=None, metavar="N", help="end after so many findings")
    for command in (inspect, verify):
        command.add_argument("directory")
    arguments = parser.parse_args()
    try:
        code: int = arguments.action(arguments)
    except OSError as error:
        sys.stderr.write(f"{arguments.directory} cannot be read: {error}\n")
        return 2
    return code


def _inspect(arguments: argparse.Namespace) -> int:
    for line in inspect_folder(RealFileSystem(), arguments.directory):
        sys.stdout.write(line + "\n")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    if arguments.gently:
        os.nice(19)
    seen, findings = Verified(), 0
    for finding in islice(verify_folder(RealFileSystem(), arguments.directory, seen), arguments.most):
        findings += 1
        sys.stdout.write(finding + "\n")
    verdict = "whole" if not findings else "1 finding" if findings == 1 else f"{findings} findings"
    sys.stdout.write(
        f"{seen.groups} groups, {seen.logged} operations in the log, {seen.operations} in history, "
        f"{seen.checkpoints} checkpoints: {verdict}\n"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

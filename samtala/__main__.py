"""`python -m samtala` is the command `samtala`."""

import sys

from samtala.cli import main

if __name__ == "__main__":
    sys.exit(main())

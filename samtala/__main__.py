"""`python -m samtala` is the `samtala` command."""

from samtala.cli import main

main()

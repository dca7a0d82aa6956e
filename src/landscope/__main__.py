"""``python -m landscope``."""

from landscope.cli import main

main()

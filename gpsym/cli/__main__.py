"""The `gpsym` command."""

from gpsym.cli import main

main()

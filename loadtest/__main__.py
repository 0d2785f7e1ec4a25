"""The command line: `python -m loadtest --help`."""

from loadtest.cli import app

app(prog_name="python -m loadtest")

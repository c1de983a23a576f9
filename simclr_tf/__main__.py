"""`python -m simclr_tf`, and the command `simclr` of an installation."""

import sys

from simclr_tf.console import run_command
from simclr_tf.flags.subcommands import main


def command() -> None:
    """Runs the command line of this process, and ends it."""
    sys.exit(run_command(main))


if __name__ == "__main__":
    command()

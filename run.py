"""Trains and evaluates SimCLR: `python run.py --help` lists the flags."""

import sys

from simclr_tf.flags.program import main

from simclr_tf.console import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))

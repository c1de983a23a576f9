"""Holds the lock of a run until it is told to stop; run by the test as a process of its own.

`python lock_program.py FOLDER [fork]`. Prints `locked`, after every note, then waits for its
input to end. With `fork`, a child that outlives it is started within the lock.
"""

import os
import sys
import time

from simclr_tf.errors import InputError
from simclr_tf.training.run_lock import lock_run


def say(line):
    print(line, flush=True)


def main():
    try:
        with lock_run(sys.argv[1], say):
            if "fork" in sys.argv:
                ready, begun = os.pipe()
                child = os.fork()
                if child == 0:
                    os.write(begun, b"1")
                    time.sleep(60)
                    return
                os.read(ready, 1)  # only then has the child let go
                say(f"child {child}")
            say("locked")
            sys.stdin.read()
    except InputError as error:
        say(str(error))
        sys.exit(3)
    say("released")


if __name__ == "__main__":
    main()

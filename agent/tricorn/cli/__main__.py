"""`tricorn` as a program; also `python -m tricorn.cli`."""

import gc
import sys


def entry() -> int:
    """Run the command line of this process, and return its exit status.

    What a start imports never becomes garbage: Python is spared looking for it there, which takes longer
    than most commands, while they are loaded as well as at the end.
    """
    gc.disable()
    try:
        from tricorn.cli.main import main
    except KeyboardInterrupt:  # said before there was anything to say it to
        return 130

    gc.freeze()
    gc.enable()
    status = main()
    gc.freeze()
    return status


if __name__ == "__main__":
    sys.exit(entry())

"""`python -m ordinaut_ext_observability`: the command."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the current folder: a `redis.py` in it is not the library

from ordinaut_ext_observability.cli.main import app

if __name__ == "__main__":
    app()

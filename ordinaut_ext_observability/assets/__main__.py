"""`python -m ordinaut_ext_observability.assets [--check]`, from the repository's top folder."""

import sys
from pathlib import Path

from ordinaut_ext_observability.assets.files import outdated, write


def main(arguments: list[str]) -> int:
    """Write the generated files, or with `--check` name those that are outdated; the exit status."""
    repository = Path.cwd()
    if arguments == ["--check"]:
        files = outdated(repository)
        for file in files:
            sys.stderr.write(f"{file} is outdated: run python -m ordinaut_ext_observability.assets\n")
        return 1 if files else 0
    if arguments:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    write(repository)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

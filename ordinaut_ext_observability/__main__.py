"""`python -m ordinaut_ext_observability`: the command."""

from ordinaut_ext_observability.cli.main import app

if __name__ == "__main__":
    app()

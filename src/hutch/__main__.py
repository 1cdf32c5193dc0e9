"""`python -m hutch` is the `hutch` command."""

from hutch.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())

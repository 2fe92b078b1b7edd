"""`python -m gpucnn` is the command `gpucnn`."""

from gpucnn.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())

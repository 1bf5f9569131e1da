"""``python -m longlive``: see ``longlive.cli.main``."""

from longlive.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())

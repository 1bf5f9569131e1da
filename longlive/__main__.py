"""``python -m longlive``: see ``longlive.cli``."""

from longlive.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

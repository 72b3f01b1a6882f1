"""``python -m unireason`` is the same as ``unireason``."""

from unireason.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

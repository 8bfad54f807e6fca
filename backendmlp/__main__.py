"""The command, and ``python -m backendmlp``."""

import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """:func:`backendmlp.cli.main`; interrupted while that is imported, it ends in the same way."""
    try:
        from backendmlp.cli import main as run
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    run(arguments)


if __name__ == "__main__":
    main()

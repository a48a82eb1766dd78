"""The command `zenoti-ingest`."""

import sys

from worker import cli


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(cli.main())


if __name__ == "__main__":
    main()

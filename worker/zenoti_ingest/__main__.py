"""The command `zenoti-ingest`."""

import sys

from zenoti_ingest import streams
from zenoti_ingest.libraries import import_them


def main() -> None:
    """Run the command line and exit with its status."""
    streams.secure()
    import_them()
    from zenoti_ingest import cli  # noqa: PLC0415  # only now: it imports the same libraries

    sys.exit(cli.main())


if __name__ == "__main__":
    main()

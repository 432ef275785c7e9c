"""`python -m lamae_toolkit.cli` is the command lamae."""

import sys

from lamae_toolkit.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m hcal_root_ad``: the command line without the installed script."""

import sys

from hcal_root_ad.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

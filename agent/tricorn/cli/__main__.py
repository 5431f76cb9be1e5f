"""`python -m tricorn.cli` is `tricorn`."""

import sys

from tricorn.cli.main import main

sys.exit(main())

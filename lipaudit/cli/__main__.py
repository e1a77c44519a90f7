"""`python -m lipaudit.cli`: the command line where the script is not installed."""

from __future__ import annotations

import sys

from lipaudit.cli import main

sys.exit(main())

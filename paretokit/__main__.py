"""`python -m paretokit`: the same as the `paretokit` command."""

import sys

from paretokit.cli import main

sys.exit(main())

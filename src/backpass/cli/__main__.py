"""``python -m backpass.cli``, where the script ``backpass`` is not on the path."""

import sys

from backpass.cli import main

sys.exit(main())

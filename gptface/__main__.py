"""``python -m gptface`` is the ``gptface`` command."""

import sys

from gptface.cli.main import main

sys.exit(main())

"""The documentation site: ``python -m docsite``, or ``make docs``.

What people write is ``docs/*.md`` and ``docs/notebooks/*.py``, readable as it stands; this package and
``docsite/zensical.toml`` only arrange it. What follows from code is made at every build and committed nowhere: a page a
command from its parser, the reference from the docstrings of public names, notebooks with their outputs, and pages of
the source files that others link to. All of it goes to ``build/docs/pages``, from which ``zensical build --strict``
makes ``build/docs/site``, whose links are then followed one by one.
"""

from __future__ import annotations

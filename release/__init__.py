"""What makes releases: no part of the package. ``docs/releasing.md`` says how the pieces go together."""

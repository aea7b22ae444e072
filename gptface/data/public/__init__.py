"""Public data sets of faces, read as they are published; nothing is imported here."""

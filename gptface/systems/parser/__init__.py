"""Training the face parser, and with another seed the judge of edits."""

"""What others have: one file a family. Nothing foreign is imported before a contender is prepared.

Where the peer is an algorithm of a paper and not a package one can install for itself (the span masks), the file holds
a short independent implementation of what the paper and its documentation say, as fast as their published form.
"""

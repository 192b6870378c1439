"""Whose this process is.

It decides nothing: ``merkl.__main__`` says it.
"""

# It was started to be merkl, so nobody but merkl minds what becomes of it, also of one that is forked.
is_ours = False

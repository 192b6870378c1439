"""Whose this process is, and whether any of it is the user's.

It decides nothing: ``merkl.__main__`` says it, and who runs code of the user's for a build that loads no Merklfile.
"""

# It was started to be merkl, so nobody but merkl minds what becomes of it, also of one that is forked.
is_ours = False
# Such code has run here, which may have left threads, or what is to be done at the end.
has_run_code = False

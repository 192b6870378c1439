"""Snapshots: what decided that a build had nothing to do, so that the next one is answered without repeating it.

A build that runs nothing has looked at files, asked for variables, listed directories.  All that is recorded
(``recorder``) and written down (``keep``).  The next process with the same request compares it with what is there now
(``answer``), before it imports anything.  If all is equal, it would find out the same, and says so.

It knows no tasks, keys or results: what they come from is what was looked at.

The invariant: a snapshot can be lost, damaged or foreign without harm, since whatever is not certain is found out anew.
"""

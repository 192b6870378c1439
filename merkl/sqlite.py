"""SQLite as the standard library has it, without what its ``sqlite3`` imports besides: dates, and adapters for them.

It decides nothing: the classes and functions are those of ``sqlite3``, which is used where Python has it in another way.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3 as sqlite3
else:
    try:
        import _sqlite3 as sqlite3
    except ImportError:
        import sqlite3

__all__ = ["sqlite3"]

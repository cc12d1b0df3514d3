"""The command line ``backpass``: one file a command.

Nothing heavy is imported here or at the top of a command's file, so that ``backpass --help`` is quick.
"""

from backpass.cli.app import main

__all__ = ["main"]

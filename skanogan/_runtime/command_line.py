"""The parser of the arguments of commands."""

import argparse
from typing import NoReturn

__all__ = ["Parser"]


class Parser(argparse.ArgumentParser):
    """Parse arguments, and report errors in one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line without the usage, which ``--help`` prints."""
        message = " ".join(message.split())
        self.exit(2, f"{self.prog}: error: {message} (--help lists the arguments)\n")

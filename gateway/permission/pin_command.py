"""`offhook pin`: a secret number, as the configuration may hold it without knowing it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from getpass import getpass
from typing import Final, TextIO

import argon2

DONE: Final = 0
NOT_DONE: Final = 2
_PIN: Final = re.compile(r"[0-9]{4,12}", re.ASCII)
_ROWS: Final = ("01234567890", "09876543210")


def main(_: argparse.Namespace) -> int:
    """Run the command on this terminal. Returns its exit status."""
    return make(getpass, out=sys.stdout, err=sys.stderr)


def make(ask: Callable[[str], str], *, out: TextIO, err: TextIO) -> int:
    """Ask for a PIN twice, and write what goes into the configuration. Returns the exit status."""
    try:
        pin = ask("The secret number, 4 to 12 digits: ")
        if (flaw := _flaw(pin)) is not None:
            err.write(f"offhook: {flaw}\n")
            return NOT_DONE
        again = ask("The same again: ")
    except (EOFError, KeyboardInterrupt):
        err.write("\n")
        return NOT_DONE
    if pin != again:
        err.write("offhook: the two are not the same\n")
        return NOT_DONE
    hashed = argon2.PasswordHasher().hash(pin)
    err.write("Put this into offhook.toml, or its value into OFFHOOK_OWNER_PIN:\n\n")
    # In single quotes: in a shell or in TOML, nothing in them is anything but itself.
    out.write(f"[owner]\npin = '{hashed}'\n")
    return DONE


def _flaw(pin: str) -> str | None:
    """What is wrong with it. Quotes nothing of it."""
    if _PIN.fullmatch(pin) is None:
        return "a secret number is 4 to 12 digits"
    if len(set(pin)) == 1 or any(pin in row for row in _ROWS):
        return "that is the first one that anybody tries; take another"
    return None

"""What tests do not take for a complaint."""

from __future__ import annotations


def complaints(stderr: str) -> str:
    """Return stderr without the word that compiling takes a while: it is said once on a machine, in whichever test comes first."""
    return "".join(line for line in stderr.splitlines(keepends=True) if "compiling for this machine, once" not in line)

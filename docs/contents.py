"""The contents page of the reference, out of the package's own: one row per public name, with its first sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).parents[1]
MARK = "<!-- every public name -->"


def rows(package: griffe.Module) -> list[str]:
    """`| [nld.name] | what |` for every name of `__all__`, in its order."""
    return [_row(name, package[name]) for name in package.exports or []]


def _row(name: str, member: griffe.Object | griffe.Alias) -> str:
    place = member.target_path if isinstance(member, griffe.Alias) else member.path
    opening = member.docstring.value.split("\n\n")[0] if member.docstring else ""
    return f"| [`nld.{name}`][{place}] | {' '.join(opening.split()).replace('|', chr(92) + '|')} |"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the table where a page asks for it; MkDocs calls this for every page."""
    if MARK not in markdown:
        return markdown
    package = griffe.load("pyro_nld", search_paths=[ROOT], resolve_aliases=True)
    return markdown.replace(MARK, "\n".join(["| name | what |", "|---|---|", *rows(package)]))

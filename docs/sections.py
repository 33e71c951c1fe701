"""The library's docstrings as Markdown.

Their sections are NumPy's in looks, but an entry is `name: text`, several may share a line, and what is returned is
plain text. No parser of docstrings reads that, so it is rewritten here, once the whole package is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import griffe

UNDERLINED = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)
ONE_LINE = re.compile(r"^(Raises|Warns|Not checked|Source): ", re.MULTILINE)
NAMED = ("Parameters", "Raises", "Warns")
SESSION = re.compile(r"^>>> .*?(?=\n\n(?!>>> )|\Z)", re.MULTILINE | re.DOTALL)
ERROR = r"(?:\w+(?:Error|Warning)|MissingExtra)"


class Sections(griffe.Extension):
    """Rewrites every docstring of a package after it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        """Go through all that the package defines."""
        for found in _defined(pkg):
            if found.docstring:
                found.docstring.value = markdown(found.docstring.value, _arguments(found))


def markdown(docstring: str, arguments: list[str]) -> str:
    """A docstring in Markdown: bold titles of sections, a list of names under each that names something.

    Parameters
    ----------
    docstring: as `inspect.cleandoc` leaves it.
    arguments: names that an entry of Parameters may begin with; others may, too, at the beginning of a line.
    """
    opening, *rest = UNDERLINED.split(docstring)
    parts = [_listed(part, arguments) for part in opening.strip().split("\n\n")]
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        known = arguments if title == "Parameters" else [ERROR]
        first, *others = (_sessions(body) if title == "Examples" else body).strip().split("\n\n")
        entries = _entries(first, known) if title in NAMED else []
        parts += [f"**{title}**", "\n".join(entries) or first, *others]
    return ONE_LINE.sub(r"\n**\1**: ", "\n\n".join(parts))


def _sessions(body: str) -> str:
    """Sessions with Python, from a prompt to what stands before the next sentence, as blocks of code."""
    return SESSION.sub(lambda found: f"```pycon\n{found[0].strip()}\n```", body)


def _listed(paragraph: str, arguments: list[str]) -> str:
    """A list where a paragraph is one of arguments without a title, as in a dataclass."""
    entries = _entries(paragraph, arguments) if paragraph.split(":")[0] in arguments else []
    return "\n".join(entries) or paragraph


def _entries(body: str, known: list[str]) -> list[str]:
    """`- **name**: text` for each `name: text`: any name at the beginning of a line, a known one after a full stop."""
    text = re.sub(r"\s*\n\s+", " ", body.strip())
    inner = rf"(?<=[.)\]] )\*{{0,2}}(?:{'|'.join(known)})(?:, (?:{'|'.join(known)}))*: " if known else r"(?!)"
    begin = re.compile(rf"^[\w*.]+(?:, (?:[\w*.]+|…))*: |{inner}", re.MULTILINE)
    marks = list(begin.finditer(text))
    if not marks or marks[0].start():
        return []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [
        f"- **{mark[0][:-2].replace('*', chr(92) + '*')}**: {' '.join(text[mark.end() : end].split())}"
        for mark, end in zip(marks, ends, strict=True)
    ]


def _defined(parent: griffe.Object) -> Iterator[griffe.Object]:
    yield parent
    for member in parent.members.values():
        if not member.is_alias:
            yield from _defined(member)


def _arguments(found: griffe.Object) -> list[str]:
    function = found.members.get("__init__") if found.is_class else found
    if found.is_class and not isinstance(function, griffe.Function):
        return list(found.members)  # a dataclass names its fields
    return [one.name for one in function.parameters if one.name != "self"] if function.is_function else []

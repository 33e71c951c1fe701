"""Equations as MathML, written when the manual is built, so that none needs a script: `$…$` in a line, or `$$…$$`."""

from __future__ import annotations

import re
from typing import Any
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from mkdocs.exceptions import PluginError

BEFORE_ESCAPES, AFTER_CODE = 186, 185  # backticks are read at 190, backslashes at 180


class Equation(InlineProcessor):
    """LaTeX between dollars to a `<math>` element."""

    def __init__(self, pattern: str, md: Markdown, display: str) -> None:
        super().__init__(pattern, md)
        self.display = display

    def handleMatch(self, m: re.Match, data: str) -> tuple[Element | str, int, int]:
        """Keep the finished markup away from Markdown."""
        written = convert(m.group(1).strip(), display=self.display)
        if "\\" in written:  # a command that the converter does not know
            raise PluginError(f"this equation is not understood: {m.group(1)}")
        return self.md.htmlStash.store(written), m.start(0), m.end(0)


class Equations(Extension):
    """The two kinds of equations."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Read them after code and before backslashes."""
        md.inlinePatterns.register(Equation(r"\$\$(.+?)\$\$", md, "block"), "displayed", BEFORE_ESCAPES)
        md.inlinePatterns.register(Equation(r"\$(?!\s)([^$\n]+?)(?<!\s)\$", md, "inline"), "equation", AFTER_CODE)


def on_config(config: Any) -> Any:
    """Give the extension to MkDocs, which calls this once."""
    config.markdown_extensions.append(Equations())
    return config

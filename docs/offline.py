"""A page needs no network: the theme's one script from elsewhere is replaced by our own, and another one is refused."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.exceptions import PluginError

SHIM = re.compile(r'src="?https://[^">\s]*iframe-worker[^">\s]*"?')
FOREIGN = re.compile(
    r"<(?:script|img|iframe)[^>]*\ssrc=\"?https?:[^>]*>|<link[^>]*stylesheet[^>]*\shref=\"?https?:[^>]*>"
)


def on_post_template(output: str, *, template_name: str, **_: Any) -> str:
    """The page of what is not found stands at the top."""
    return _local(output, "worker.js", template_name) if template_name.endswith(".html") else output


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Look at every page once it is written."""
    return _local(output, "../" * page.url.count("/") + "worker.js", page.url)


def _local(output: str, worker: str, place: str) -> str:
    output = SHIM.sub(f'src="{worker}"', output)
    if found := FOREIGN.search(output):
        raise PluginError(f"{place} needs the network: {found[0]}")
    return output

"""Every relative link leads somewhere: over built HTML and over Markdown files, without a network.

    python scripts/check_links.py docs/_build/html README.md CONTRIBUTING.md SECURITY.md

A folder stands for the HTML files in it. A link is dead if its file is missing, or if no element (in Markdown: no
heading) of that file has the anchor. Each dead link is one line; the exit status is then 1.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt


@dataclass(frozen=True)
class Page:
    """What can be linked to in a file, and what it links to."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)


class _Collector(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" or (name == "name" and tag == "a"):
                self.page.anchors.add(value or "")
            elif name in ("href", "src") and value:
                self.page.links.append(value)


def read_html(text: str) -> Page:
    """Return the anchors and links of an HTML document."""
    collector = _Collector()
    collector.feed(text)
    return collector.page


def read_markdown(text: str) -> Page:
    """Return the anchors and links of a Markdown document; headings have the anchors that GitHub gives them."""
    page = Page()
    seen: Counter[str] = Counter()
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for before, token in zip([None, *tokens], tokens, strict=False):
        if before is not None and before.type == "heading_open":
            slug = re.sub(r"[^\w\- ]", "", token.content.lower()).replace(" ", "-")
            page.anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        for child in token.children or ():
            link = child.attrs.get("href", child.attrs.get("src"))
            if link:
                page.links.append(str(link))
    return page


@cache
def read(path: Path) -> Page:
    """Return the anchors and links of a file; of one that is neither HTML nor Markdown, none."""
    reader = {".html": read_html, ".md": read_markdown}.get(path.suffix)
    return reader(path.read_text(encoding="utf-8")) if reader else Page()


def dead_links(path: Path) -> Iterator[str]:
    """Yield what is wrong with each dead relative link of the file at `path`."""
    for link in read(path).links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
        if not target.exists():
            yield f"{path}: {link}: there is no such file"
        elif parts.fragment and unquote(parts.fragment) not in read(target).anchors:
            yield f"{path}: {link}: the file is there, the anchor is not"


def files_of(arguments: Iterable[str]) -> list[Path]:
    """Return the files named, for a folder the HTML files in it. Raises `SystemExit` where there is none."""
    found = []
    for argument in arguments:
        path = Path(argument)
        pages = sorted(path.rglob("*.html")) if path.is_dir() else [path]
        if not pages or not pages[0].is_file():
            raise SystemExit(f"{argument}: expected a Markdown file, or a folder with HTML files in it")
        found += pages
    return found


def main(arguments: list[str]) -> int:
    """Print every dead link once; return 1 if there is one."""
    files = files_of(arguments)
    dead = [line for path in files for line in dict.fromkeys(dead_links(path))]
    links = sum(len(read(path).links) for path in files)
    print(*dead, f"{len(files)} files, {links} links, {len(dead)} dead", sep="\n")
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

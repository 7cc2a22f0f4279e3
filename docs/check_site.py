"""Check a built site for broken internal links and pictures, and for empty pages.

python docs/check_site.py docs/_build/html
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Links, anchors and number of words of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.words = 0
        self._in_article = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Collect links and anchors."""
        values = dict(attrs)
        for name in ("href", "src"):
            if values.get(name):
                self.links.add(values[name])
        for name in ("id", "name"):
            if values.get(name):
                self.anchors.add(values[name])
        self._in_article += tag == "article"

    def handle_endtag(self, tag):
        """Leave the article."""
        self._in_article -= tag == "article"

    def handle_data(self, data):
        """Count the words of the article."""
        if self._in_article:
            self.words += len(data.split())


def read(site: Path) -> dict[Path, Page]:
    """Return the pages by path, without the files of the theme."""
    return {
        path: Page(path)
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }


def faults(site: Path, pages: dict[Path, Page]) -> list[str]:
    """Return one line for each fault."""
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        # Scripts fill the search page; the index is a list of links.
        if page.words < 20 and name.name not in ("search.html", "genindex.html"):
            found.append(f"{name}: an empty page ({page.words} words)")
        for link in sorted(page.links):
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = path if not url.path else (path.parent / unquote(url.path))
            target = target.resolve()
            if not target.exists():
                found.append(f"{name}: {link} leads nowhere")
                continue
            there = pages.get(target)
            if url.fragment and there and unquote(url.fragment) not in there.anchors:
                found.append(f"{name}: {link} has no such place")
    return found


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    every = read(root)
    broken = faults(root, every)
    print("\n".join(broken) or f"{len(every)} pages, no broken link, none empty")
    sys.exit(bool(broken) or not every)

"""The finished site, looked through: every link leads somewhere, and no page asks anybody else for anything."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["dead_links", "outside_requests"]

# Attributes that a browser fetches on its own; a link that people follow may lead to other sites.
FETCHED = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src")}
# Of <link>, these are said to search engines and not fetched.
NOT_FETCHED = {"canonical", "prev", "next", "alternate"}


class Page(HTMLParser):
    """What a page offers as anchors, links to, and fetches."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        for name, value in values.items():
            if (tag, name) in FETCHED and values.get("rel") not in NOT_FETCHED:
                self.fetched.append(value)
            if name in ("href", "src") and values.get("rel") not in NOT_FETCHED:
                self.links.append(value)


def _pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}


def dead_links(site: Path) -> list[str]:
    """A sentence for every link of the site to a file or an anchor of it that is not there."""
    pages = _pages(site)
    dead = []
    for file, page in pages.items():
        if file.name == "404.html":
            continue  # its links are from the root of a server
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if target.is_dir():
                target /= "index.html"
            name = file.relative_to(site)
            if not target.is_file():
                dead.append(f"{name}: {link} is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                dead.append(f"{name}: {link}: there is no such heading")
    return sorted(set(dead))


def outside_requests(site: Path) -> list[str]:
    """A sentence for everything that a browser would fetch from elsewhere."""
    found = []
    for file, page in _pages(site).items():
        found += [f"{file.relative_to(site)}: {url}" for url in page.fetched if re.match(r"(?:https?:)?//", url)]
    for file in sorted(site.rglob("*.css")):
        urls = re.findall(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')]+)", file.read_text(encoding="utf-8"))
        found += [f"{file.relative_to(site)}: {url}" for url in urls]
    return sorted(set(found))

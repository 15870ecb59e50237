"""Is the site that was built whole, and can it be read without network? Every doubt is said, and is an error.

    python docs/reference/check_site.py site

Looked at is each page as a browser would: links and anchors inside the site lead somewhere; fonts, scripts, styles and
pictures are files of the site. (Links that a person may follow to the outside are none of its business.)
"""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "source": "src", "video": "src", "iframe": "src", "link": "href"}
"""Tags whose address a browser fetches by itself."""

NOT_FETCHED = ("canonical", "next", "prev", "alternate")
"""Kinds of `<link>` that only say something."""


class Reference(NamedTuple):
    """An address on a page."""

    tag: str
    target: str


class PageReader(HTMLParser):
    """The addresses and anchors of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[Reference] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Of one tag."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "link" and given.get("rel") in NOT_FETCHED:
            return
        target = given.get("href" if tag == "a" else LOADED.get(tag, ""))
        if target:
            self.references.append(Reference(tag, target))


def complaints(site: Path) -> Iterator[str]:
    """What is wrong with a site."""
    pages = {path: PageReader(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for tag, target in page.references:
            parts = urlsplit(target)
            if parts.scheme in ("http", "https") or target.startswith("//"):
                if tag != "a":
                    yield f"{path}: <{tag}> is fetched from {target}"
                continue
            if parts.scheme:  # mailto:, data:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            if not file.exists():
                yield f"{path}: {target} leads nowhere"
            elif parts.fragment and file.suffix == ".html":
                there = pages.get(file) or pages.get(site / file.relative_to(site.resolve()))
                if there is not None and unquote(parts.fragment) not in there.anchors:
                    yield f"{path}: {target}: there is no such anchor"


def main(folder: str) -> int:
    """Say every complaint; 1 if there is one."""
    found = sorted(set(complaints(Path(folder))))
    for complaint in found:
        print(complaint, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""What the site has that docs/ does not: a first page, the Python API, links to the sources as plain text, and a search
that works in pages which are opened as files, without a script from elsewhere.

mkdocs calls these functions while it builds (`hooks` in mkdocs.yml).
"""

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

sys.path.insert(0, str(Path(__file__).parent))

from make_api import pages

WORKER = "assets/site_worker.js"
FETCHED_WORKER = "https://unpkg.com/iframe-worker/shim"
"""What the plugin `offline` would have a browser fetch."""

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made: the first one, and one for each package."""
    made = {f"reference/api/{package}.md": text for package, text in pages().items()}
    made["index.md"] = first_page(config)
    made[WORKER] = Path(__file__).with_name("site_worker.js").read_text(encoding="utf-8")
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def first_page(config: MkDocsConfig) -> str:
    """The navigation as a page."""
    lines = [f"# {config.site_name}", "", str(config.site_description), ""]
    lines += ["![A policy brings a box to the pallet](pictures/policy.webp)", ""]
    for entry in config.nav or []:
        ((title, below),) = entry.items()
        if below == "index.md":
            continue
        inside = below if isinstance(below, list) else [{title: below}]
        pages_below = [next(iter(page.items())) for page in inside if isinstance(page, dict)]
        lines += [f"- **{title}**: " + ", ".join(f"[{name}]({path})" for name, path in pages_below)]
    return "\n".join(lines) + "\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that leave docs/ lead to files of the sources, which are not in the site: their names are said instead."""
    docs = Path(config.docs_dir)
    here = (docs / page.file.src_uri).parent

    def said(link: re.Match[str]) -> str:
        words, target, _ = link.groups()
        path = (here / target).resolve()
        if "://" in target or path.is_relative_to(docs) or not path.exists():
            return link[0]
        return f"{words} (`{path.relative_to(docs.parent)}`)"

    del files
    return LINK.sub(said, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """The search's script is one of ours."""
    del config
    return output.replace(FETCHED_WORKER, get_relative_url(WORKER, page.url))


def on_post_build(config: MkDocsConfig) -> None:
    """Without the page that only a server shows."""
    (Path(config.site_dir) / "404.html").unlink(missing_ok=True)

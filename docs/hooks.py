"""MkDocs calls these: the reference is filled from the package, names become links, nothing is loaded from outside.

In a page, ``<!-- made: NAME -->`` is replaced by what `tables.PARTS` makes; every other comment is for the tests and
does not reach the reader.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import flows
import tables
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

_COMMENT = re.compile(r"^<!--\s*(.*?)\s*-->\n?", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(<a\b[^>]*>.*?</a>|<pre\b.*?</pre>|<h\d\b.*?</h\d>)|<code>([\w.]+?)(\(\))?</code>", re.DOTALL)
# In tables about other SDKs the first column is theirs.
_CODE_OF_BOTH = re.compile(r"(<tr>\s*<td>.*?</td>|" + _CODE.pattern[1:], re.DOTALL)
# What a browser would fetch by itself from another host; links that a reader follows are no such thing.
_LOADS = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|link)\b[^>]*?\b(?:src|href)=["']?(?:https?:)?//[^"'\s>]+"""
    r"""|@import\s+(?:url\()?["']?(?:https?:)?//[^"')\s]+|url\(["']?(?:https?:)?//[^"')\s]+""",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"""rel=["']?(?:canonical|prev|next|alternate)\b""")


def on_config(config: Any, **_: Any) -> Any:
    """Let fences of the name ``flow`` become diagrams."""
    fence = {"name": "flow", "class": "flow", "format": flows.fence}
    config["mdx_configs"].setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Bring along the picture that the benchmarks have drawn for the README."""
    files.append(File.generated(config, tables.PLOT_PAGE, abs_src_path=str(tables.PLOT)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in what is made, drop what is meant for the tests."""

    def filled(match: re.Match[str]) -> str:
        order = match[1]
        if not order.startswith("made:"):
            return ""
        name = order.removeprefix("made:").strip()
        if name not in tables.PARTS:
            raise PluginError(f"{page.file.src_uri}: there is nothing made of the name {name!r}")
        return tables.PARTS[name]() + "\n"

    return _COMMENT.sub(filled, markdown)


def on_page_content(html: str, page: Any, files: Any, config: Any, **_: Any) -> str:
    """Let names of the package in code spans lead to their reference."""
    targets = _targets(Path(config["docs_dir"]))
    code = _CODE_OF_BOTH if page.file.src_uri.startswith("migration/") else _CODE

    def linked(match: re.Match[str]) -> str:
        name = (match[2] or "").removeprefix("rt.").removeprefix("session.on_")
        name = f"RealtimeSession.on_{name}" if (match[2] or "").startswith("session.on_") else name
        where = targets.get(name)
        if match[1] is not None or where is None:
            return match[0]
        source, anchor = where
        target = files.get_file_from_path(source)
        if target is None or target is page.file:
            return match[0]
        return f'<a class="code-link" href="{target.url_relative_to(page.file)}#{anchor}">{match[0]}</a>'

    return code.sub(linked, html)


_known: dict[str, tuple[str, str]] = {}


def _targets(folder: Path) -> dict[str, tuple[str, str]]:
    """Names of the package, and where they are described."""
    if _known:
        return _known
    for path in sorted(folder.glob("reference/*.md")):
        text = path.read_text(encoding="utf-8")
        source = path.relative_to(folder).as_posix()
        for full in re.findall(r"^::: (\S+)$", text, re.MULTILINE):
            _add_class(full, source)
        made = "\n".join(tables.PARTS[name]() for name in re.findall(r"<!-- made: (\w+) -->", text))
        for anchor in re.findall(r"^#+ .*\{ #([\w-]+) \}$", made, re.MULTILINE):
            _known.setdefault(anchor, (source, anchor))
            if "server-events" in source or "client-events" in source:
                _known.setdefault(anchor.replace("-", "."), (source, anchor))
        for name, kind in tables.event_classes().items():
            wire = str(kind.type).replace(".", "-")
            if f"{{ #{wire} }}" in made:
                _known.setdefault(name, (source, wire))
    return _known


def _add_class(full: str, source: str) -> None:
    kind = tables.found(full)
    short = full.rpartition(".")[2]
    _known[short] = (source, full)
    if isinstance(kind, type):
        for name in dir(kind):
            if not name.startswith("_"):
                described = callable(getattr(kind, name)) or isinstance(getattr(kind, name), property)
                _known[f"{short}.{name}"] = (source, f"{full}.{name}" if described else full)
                if short == "RealtimeSession" and name.startswith("on_"):
                    _known[name] = (source, f"{full}.{name}")


def on_post_build(config: Any, **_: Any) -> None:
    """Refuse a site that would load anything from another host."""
    site = Path(config["site_dir"])
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        for match in _LOADS.finditer(path.read_text(encoding="utf-8")):
            if not _HARMLESS.search(match[0]):
                raise PluginError(f"{path.relative_to(site)} loads something from outside: {match[0][:120]}")

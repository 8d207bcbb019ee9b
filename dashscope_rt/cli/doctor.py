"""``doctor``: what works, what does not, what to do; and a bundle without secrets for a bug report."""

from __future__ import annotations

import io
import json
import logging
import re
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import click
from rich.table import Table
from rich.text import Text

import dashscope_rt as rt

from . import _checks, _contexts
from ._checks import Check
from ._options import DEFAULT_MODEL, Settings, connection_options, settings
from ._output import console, is_terminal, json_line, note

_PUBLIC = (".aliyuncs.com", "localhost", "127.0.0.1", "::1")
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red"}


@click.command()
@click.option("-m", "--model", help=f"Open a session with this model; default {DEFAULT_MODEL}.")
@click.option("--json", "as_json", is_flag=True, help="One object per line.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path),
              help="Write a ZIP to attach to an issue: no key, no workspace, no host of your own.")  # fmt: skip
@connection_options
def doctor(model: str | None, as_json: bool, report: Path | None, **options: Any) -> int:
    """Check key, DNS, proxy, TLS, clock, round trip, a session, audio devices, versions.

    Each line is ok, a warning or failed, with what to do. Exit code 0 unless something failed; 3 for a refused key.

    \b
    Examples:
      dashscope-rt doctor
      dashscope-rt doctor --report report.zip
      dashscope-rt doctor --url ws://127.0.0.1:8765        an emulator, or a proxy of your own
    """
    if report is not None and report.exists():
        raise click.UsageError(f"{report} is there already; give another name")
    chosen = settings(**options, key_needed=False)
    path = options["config_path"] or _contexts.default_path()
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(relativeCreated)8.0f %(levelname)s %(message)s"))
    logger = logging.getLogger("dashscope_rt")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        checks = []
        for check in _all(chosen, model or chosen.model or DEFAULT_MODEL, path):
            checks.append(check)
            if as_json:
                json_line({name: value for name, value in attrs.asdict(check).items() if name != "refused_key"})
            else:
                _print(check)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    if report is not None:
        _write(report, checks, log.getvalue(), chosen)
        note(f"{report} holds the report; look into it before you attach it")
    if any(check.refused_key for check in checks):
        return 3
    return 1 if any(check.state == "failed" for check in checks) else 0


def _all(chosen: Settings, model: str, path: Path) -> Iterator[Check]:
    yield _checks.versions()
    yield _checks.environment()
    yield _checks.configuration(path)
    key = _checks.key(chosen)
    yield key
    client = chosen.client()
    if chosen.url:
        yield from _checks.endpoint("endpoint", client.url, chosen, wanted=True)
    else:
        mine = chosen.region or "cn-beijing"
        for name in rt.REGIONS:
            url = client.url if name == mine else rt.RealtimeClient("unused", region=name, workspace=None, url=None).url
            yield from _checks.endpoint(name, url, chosen, wanted=name == mine)
    if key.state != "failed":
        yield _checks.session(chosen, model)
    yield _checks.devices()


def _print(check: Check) -> None:
    out = console()
    text = Text.assemble((f"{check.name}: ", "bold"), check.detail)
    if not is_terminal(out.file):
        out.print(Text.assemble(f"{check.state:<8}", text))
        if check.advice:
            out.print(f"        → {check.advice}")
        return
    row = Table.grid()
    row.add_column(width=8)
    row.add_column()
    row.add_row(Text(check.state, style=_COLOURS[check.state]), text)
    if check.advice:
        row.add_row("", f"→ {check.advice}")
    out.print(row)


def _write(report: Path, checks: list[Check], log: str, chosen: Settings) -> None:
    listed = [attrs.asdict(check) for check in checks]
    advised = [(check, f"        → {check.advice}\n" if check.advice else "") for check in checks]
    text = "".join(f"{check.state:<8}{check.name}: {check.detail}\n{advice}" for check, advice in advised)
    files = {"report.txt": text, "report.json": json.dumps(listed, ensure_ascii=False, indent=1), "log.txt": log}
    with report.open("xb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            bundle.writestr(name, _clean(content, chosen))


def _clean(text: str, chosen: Settings) -> str:
    """Without key, workspace, private hosts, the user's name in paths, and whatever else looks like a secret."""
    for secret, instead in (
        (chosen.key, "[key]"),
        (_contexts.mask(chosen.key), "[key]"),
        (chosen.workspace, "[workspace]"),
        (str(Path.home()), "~"),
    ):
        if len(secret) > 1:
            text = text.replace(secret, instead)
    for host in _private_hosts(chosen):
        text = text.replace(host, "[host]")
    text = re.sub(r"\bsk-[A-Za-z0-9_-]{6,}", "[key]", text)
    return re.sub(r"\b(?:sess|session)_[A-Za-z0-9_-]+", "[session]", text)


def _private_hosts(chosen: Settings) -> list[str]:
    """Hosts of the user's own: of another endpoint, and of proxies."""
    urls = [chosen.url, chosen.proxy or "", *urllib.request.getproxies().values()]
    hosts = {urlsplit(url if "//" in url else f"//{url}").hostname or "" for url in urls}
    return sorted(host for host in hosts if host and not host.endswith(_PUBLIC))

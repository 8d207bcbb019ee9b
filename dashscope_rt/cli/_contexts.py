"""Named settings in a file of the user's own: the folder is the owner's only, the file too, every write is whole.

The file:

    version: 1
    current_context: work
    contexts:
      work: {key: env:WORK_KEY, region: cn-beijing, workspace: ws-1, model: …, voice: …}
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import click

PATH_VARIABLE = "DASHSCOPE_RT_CONFIG"
_NAME = re.compile(r"\w[\w.-]{0,63}")
_LOCK_WAIT = 5.0  # s until another program's hold on the file is an error


@attrs.frozen(kw_only=True)
class Context:
    """One set of settings; "" is not set.

    Attributes:
        key: The API key, or ``env:NAME`` for the variable that holds it.
    """

    key: str = attrs.field(default="", repr=lambda key: repr(mask(key)))
    region: str = ""
    workspace: str = ""
    url: str = ""
    model: str = ""
    voice: str = ""

    def shown(self) -> dict[str, str]:
        """What is set, the key masked."""
        fields = attrs.asdict(self)
        fields["key"] = mask(self.key)
        return {name: value for name, value in fields.items() if value}


FIELDS = tuple(field.name for field in attrs.fields(Context))


@attrs.frozen(kw_only=True)
class Contexts:
    """What the file holds."""

    current: str = ""
    by_name: Mapping[str, Context] = attrs.field(factory=dict)

    def get(self, name: str, path: Path) -> Context:
        """Return a context.

        Raises:
            click.UsageError: There is none of this name; the message names the nearest.
        """
        if name in self.by_name:
            return self.by_name[name]
        raise click.UsageError(f"there is no context {name!r} in {path}; {nearest(name, self.by_name)}")


def nearest(name: str, known: Any) -> str:
    """Say what may have been meant."""
    names = sorted(map(str, known))
    near = difflib.get_close_matches(name, names, 1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are: {', '.join(names)}" if names else "there are none yet: dashscope-rt config add-context NAME"


def mask(key: str) -> str:
    """Return a key that may be shown: the last four characters of a long one, nothing of a short one."""
    if not key or key.startswith("env:"):
        return key
    return f"{'sk-' if key.startswith('sk-') else ''}…{key[-4:]}" if len(key) >= 16 else "…"


def default_path() -> Path:
    """Where the file is: ``DASHSCOPE_RT_CONFIG``, or the platform's folder for settings."""
    chosen = os.environ.get(PATH_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_config_path("dashscope_rt") / "config.yaml"


def check_name(name: str) -> str:
    """Return the name of a context.

    Raises:
        click.BadParameter: It may not be one.
    """
    if not _NAME.fullmatch(name):
        raise click.BadParameter(f"a context's name is 1 to 64 letters, digits, '_', '-' or '.', not {name!r}")
    return name


def load(path: Path) -> Contexts:
    """Read the file; a missing one is empty.

    Raises:
        click.UsageError: It is not what it should be; nothing of a key is quoted.
    """
    try:
        with path.open(encoding="utf-8") as file:
            import yaml  # here, because most runs have no such file

            if os.name == "posix" and os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                from ._output import warn

                warn(f"{path} can be read by others; do: chmod 600 {path}")
            data = yaml.safe_load(file)
    except FileNotFoundError:
        return Contexts()
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise click.UsageError(f"{path}{line} is not YAML; repair it or take it away") from None
    return _read(data, path)


def _read(data: Any, path: Path) -> Contexts:
    if data is None:
        return Contexts()
    contexts = data.get("contexts") or {} if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(contexts, dict):
        raise click.UsageError(f"{path} must hold current_context and contexts")
    if isinstance(data.get("version"), int) and data["version"] > 1:
        raise click.UsageError(f"{path} has version {data['version']} and this program knows version 1: update it")
    by_name = {}
    for name, fields in contexts.items():
        if isinstance(fields, dict) and "api_key" in fields:
            raise click.UsageError(
                f"{path} is a configuration of giztoy: take it over with dashscope-rt config import-giztoy {path}"
            )
        if not isinstance(fields, dict):
            raise click.UsageError(f"{path}: the context {name!r} must be a mapping")
        for field in fields:
            if field not in FIELDS:
                raise click.UsageError(f"{path}: the context {name!r} has no {field!r}; {nearest(str(field), FIELDS)}")
        by_name[str(name)] = Context(**{field: str(value or "") for field, value in fields.items()})
    return Contexts(current=str(data.get("current_context") or ""), by_name=by_name)


def save(path: Path, contexts: Contexts) -> None:
    """Write the file whole: a temporary one beside it, made for the owner only, then put in its place.

    Raises:
        OSError: It cannot be written; the old file is as it was.
    """
    data = {
        "version": 1,
        "current_context": contexts.current,
        "contexts": {
            name: {field: value for field, value in attrs.asdict(context).items() if value}
            for name, context in sorted(contexts.by_name.items())
        },
    }
    import yaml

    target = path.resolve()  # a link stays a link
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".config-", suffix=".tmp")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yaml.safe_dump(data, file, allow_unicode=True, sort_keys=False)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep every other run of this program from changing the file meanwhile.

    Raises:
        click.ClickException: Somebody else has held it for five seconds.
        OSError: The folder cannot be made.
    """
    folder = path.resolve().parent
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.name == "posix" and (made or not os.environ.get(PATH_VARIABLE)) and folder == default_path().resolve().parent:
        folder.chmod(0o700)
    lock = path.resolve().with_name(path.name + ".lock")
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOCK_WAIT
    try:
        while not _try_lock(handle):
            if time.monotonic() > deadline:
                raise click.ClickException(f"another program holds {lock}; try again when it is done")
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)  # which gives the lock back


def _try_lock(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

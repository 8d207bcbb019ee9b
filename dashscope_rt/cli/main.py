"""The entry of ``dashscope-rt``: commands, exit codes, and every error in one line.

Exit codes: 0 ok, 1 the service or the network failed, 2 usage, 3 the key was refused, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence

import click

import dashscope_rt as rt

from ._signals import INTERRUPTED, heard, just_heard

NAME = "dashscope-rt"
_COMPLETION = "_DASHSCOPE_RT_COMPLETE"  # click's name for it
OK, FAILED, USAGE, AUTHENTICATION = 0, 1, 2, 3

# Loaded when they are run: --help and completion stay quick.
_COMMANDS = {
    "chat": ("chat", "Talk with a model: microphone, files, or text."),
    "ask": ("ask", "Ask one question; the answer goes to stdout."),
    "transcribe": ("transcribe", "Write down what was said: text, SRT, VTT or JSON."),
    "config": ("configure", "Contexts: keys, regions, models under a name."),
    "models": ("tables", "The models and what they can do."),
    "voices": ("tables", "The voices of a model."),
    "record": ("record", "Record a session into one file."),
    "replay": ("record", "Play a recording, here or behind a socket."),
    "inspect": ("record", "Show a recording as a timeline."),
    "doctor": ("doctor", "Find out why it does not work."),
    "emulator": ("tables", "The service on this machine, without a model."),
    "completion": ("completion", "Completion for your shell."),
    "version": ("tables", "The version."),
}


class _Lazy(click.Group):
    """A group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"{__package__}.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from ._contexts import nearest

            raise click.UsageError(f"there is no command {args[0]!r}; {nearest(args[0], _COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


def _version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(rt.__version__)
        context.exit()


def _debug(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.meta["dashscope_rt.debug"] = True


@click.command(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  dashscope-rt config add-context work --region cn-beijing
  dashscope-rt chat
  dashscope-rt ask --audio question.wav -o answer.wav
  dashscope-rt ask "What is the capital of France?"
  dashscope-rt transcribe talk.wav --format srt

\b
Exit codes: 0 ok, 1 the service or the network failed, 2 usage, 3 the key was refused,
130 interrupted.""",
)
@click.option("-V", "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Its number.")
@click.option("--debug", is_flag=True, expose_value=False, is_eager=True, callback=_debug, help="Show tracebacks.")
def group() -> None:
    """Talk to Alibaba Cloud's Qwen-Omni-Realtime models (DashScope)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = _wants_debug(arguments)
    if debug:
        logging.basicConfig(
            level=logging.DEBUG, stream=sys.stderr, format="%(relativeCreated)6.0f %(name)s %(message)s"
        )
    else:
        # What a person needs to know is said by the commands; the library's warnings would come twice.
        logging.getLogger("dashscope_rt").setLevel(logging.CRITICAL)
        warnings.showwarning = _warn  # type: ignore[assignment]  # it does not ask where
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # no text ends the program
    try:
        try:
            with heard():
                code = _run(list(arguments))
            sys.stdout.flush()
        except BaseException as error:
            if debug and not isinstance(error, (click.exceptions.Exit, SystemExit)):
                traceback.print_exc()
            raise
    except KeyboardInterrupt:
        if sys.stderr is not None and sys.stderr.isatty():
            click.echo(err=True)  # the shell's prompt begins a line of its own
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone, as `head` does. Python would complain once more at the very end.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 — the last place that can say it in one line
        if isinstance(error, (ImportError, SystemError)) and (code := just_heard()):
            return code
        return _explain(error)
    return code


def _run(arguments: list[str]) -> int:
    if _COMPLETION in os.environ:  # a shell asks what could come next
        group.main(arguments, prog_name=NAME, standalone_mode=False)
        return OK
    try:
        # Not group.main(): it would write an empty line into every pipe at Ctrl-C.
        with group.make_context(NAME, arguments) as context:
            result = group.invoke(context)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.exceptions.Abort:
        raise KeyboardInterrupt from None
    return result if isinstance(result, int) else OK


def _warn(message: Warning | str, category: type[Warning], *_where: object) -> None:
    """Show a warning of the package as one line; those that are meant for programmers are none of the user's affair."""
    if category is UserWarning:
        from ._output import warn

        warn(str(message))


def _wants_debug(arguments: Sequence[str]) -> bool:
    before = list(arguments)[: arguments.index("--")] if "--" in arguments else arguments
    return "--debug" in before


def _hints() -> tuple[tuple[type[BaseException], str], ...]:
    return (
        (
            rt.AuthenticationError,
            "dashscope-rt config add-context NAME, or set DASHSCOPE_API_KEY; a key works in its own --region only",
        ),
        (rt.PermissionDeniedError, "see in the console that the model and the workspace are open to this key"),
        (rt.ModelNotFoundError, "dashscope-rt models lists the models; the newest want --workspace"),
        (rt.QuotaExceededError, "see usage and billing in the Model Studio console"),
        (rt.RateLimitError, "wait a little and try again"),
        (rt.ServiceBusyError, "try again"),
        (rt.BadRequestError, "see with --debug what was sent"),
        (rt.UnsupportedByModel, "dashscope-rt models shows what each can do; --allow-unsupported sends it anyway"),
        (rt.ConnectionFailed, "dashscope-rt doctor finds out what is wrong"),
        (rt.DeadlineExceeded, "give it more time with --timeout, or look with dashscope-rt doctor"),
        (rt.ConnectionClosed, "try again; dashscope-rt doctor finds out what is wrong"),
    )


def _explain(error: Exception) -> int:
    """Write the error's line and its hint; returns the exit code."""
    from ._output import error_line  # here, and so on: --help and completion need none of it

    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx is not None else "dashscope-rt"
        error_line(error.format_message(), f"{command} --help")
        return USAGE
    if isinstance(error, click.ClickException):
        error_line(error.format_message())
        return error.exit_code
    hint = next((hint for kind, hint in _hints() if isinstance(error, kind)), "")
    if isinstance(error, rt.ConnectionFailed) and "ca_file" in str(error):
        hint = "--ca-file FILE trusts a CA of your own"
    if isinstance(error, rt.RealtimeError):
        error_line(str(error), hint)
        if isinstance(error, rt.AuthenticationError):
            return AUTHENTICATION
        return USAGE if isinstance(error, rt.UnsupportedByModel) else FAILED
    if isinstance(error, ImportError):
        error_line(str(error))
        return USAGE
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        error_line(f"{name}{error.strerror or error}")
        return USAGE if isinstance(error, (FileNotFoundError, FileExistsError, IsADirectoryError)) else FAILED
    if isinstance(error, (ValueError, TypeError)):
        error_line(str(error), "--help tells what can be given; --debug shows where it happened")
        return USAGE
    error_line(f"{type(error).__name__}: {error}", "this should not happen: run it again with --debug and report it")
    return FAILED

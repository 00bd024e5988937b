"""The command ``nanospan ab``, which compares the run times of two commands."""

from __future__ import annotations

import argparse
import shlex
import shutil
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanospan.cli import options, text
from nanospan.cli.child import deferred_interrupts
from nanospan.cli.series import NAMES, CommandFailedError, Series
from nanospan.cli.streams import report_error
from nanospan.regression import Baseline, compare
from nanospan.regression.effects import ALPHA, tail_min_effect_beside
from nanospan.values.messages import shown
from nanospan.values.units import change_text, counted, interval_text, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanospan.regression import Comparison

DESCRIPTION = """\
Run two commands, A and B, alternately and many times, and report whether B takes longer than A.

The speed of the same code varies by a quarter between machines, and over time on one machine. To
find out whether a change made something slower, run the old and the new version side by side: A B,
B A, A B ... The commands get no input, and their output is discarded. If a command itself contains
"--", run it in a shell: sh -c 'COMMAND'.
"""

EPILOG = """\
exit status: 0 if B is no slower, 1 if B is slower, 2 for bad input or if a command failed
"""

USAGE = "nanospan ab [OPTIONS] -- CMD_A -- CMD_B"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``ab`` to the command line."""
    parser = commands.add_parser(
        "ab",
        help="run two commands alternately and report whether the second takes longer",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--runs",
        type=options.whole_number(1, 100_000),
        default=30,
        metavar="N",
        help="how many times to run each command (default: 30)",
    )
    parser.add_argument(
        "--warmup",
        type=options.whole_number(0, 100_000),
        default=1,
        metavar="N",
        help="how many warm-up runs of each command to do first, not counted (default: 1)",
    )
    parser.add_argument(
        "--timeout",
        type=options.positive,
        default=600.0,
        metavar="SECONDS",
        help="maximum duration of one run, in seconds (default: 600)",
    )
    parser.add_argument(
        "--alpha",
        type=options.share,
        default=ALPHA,
        metavar="SHARE",
        help="probability of reporting a difference if there is none (default: %(default)s)",
    )
    options.add_min_effect(parser)
    options.add_format(parser)
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE",
        help="save the run times to FILE as a baseline, with the commands as operations A and B",
    )
    parser.add_argument("commands", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the commands, compare their times and return the exit status."""
    commands = _split_commands(arguments)
    if arguments.save is not None and not arguments.save.absolute().parent.is_dir():
        arguments.parser.error(f"the folder of {arguments.save} does not exist")
    try:
        with deferred_interrupts() as interrupts:
            times = Series(
                commands,
                runs=arguments.runs,
                warmup=arguments.warmup,
                timeout=arguments.timeout,
                interrupts=interrupts,
            ).run()
    except CommandFailedError as exc:
        return report_error(str(exc))
    except OSError as exc:
        return report_error(exc)
    comparison = compare(
        *times,
        alpha=arguments.alpha,
        min_effect=arguments.min_effect,
        tail_min_effect=tail_min_effect_beside(arguments.min_effect),
    )
    if arguments.format == "json":
        text.print_json(_to_dict(arguments, commands, times, comparison), is_result=False)
    else:
        text.print_lines(_report(arguments, commands, times, comparison), is_result=False)
    if arguments.save is not None:
        # The times are saved last, so that the result is printed even if they cannot be saved.
        try:
            Baseline.from_samples(dict(zip(NAMES, times, strict=True))).save(arguments.save)
        except OSError as exc:
            return report_error(exc)
    return 1 if comparison.verdict == "regressed" else 0


def _split_commands(arguments: argparse.Namespace) -> list[list[str]]:
    """Return both commands; exit with an error unless there are two and their programs exist."""
    commands: list[list[str]] = [[]]
    for word in arguments.commands:
        if word == "--":
            commands.append([])
        else:
            commands[-1].append(word)
    # The first "--" ends the options; some versions of argparse keep it and others remove it.
    commands = commands if commands[0] else commands[1:]
    if len(commands) != len(NAMES) or not all(commands):
        arguments.parser.error(f"expected two commands, each after --, got {len(commands)}")
    for name, command in zip(NAMES, commands, strict=True):
        if shutil.which(command[0]) is None:
            arguments.parser.error(f"command {name}: there is no program {shown(command[0])}")
    return commands


def _report(
    arguments: argparse.Namespace,
    commands: Sequence[list[str]],
    times: Sequence[list[float]],
    comparison: Comparison,
) -> list[str]:
    headings = ("", "command", "median", "minimum", "maximum")
    figures = [
        [
            text.fixed_duration(each)
            for each in (statistics.median(values), min(values), max(values))
        ]
        for values in times
    ]
    shift = f"{change_text(comparison.shift)} ({interval_text(comparison.shift_ci)})"
    verdict: str = comparison.verdict
    runs = counted(arguments.runs, "run")
    closing = (
        f"B against A: {{}}, {shift}, p = {comparison.p_value:.2g}; {runs} of each, in turn, after "
        f"{counted(arguments.warmup, 'warm-up')}"
    )
    words = [printable(shlex.join(command)) for command in commands]
    if arguments.format == "markdown":
        code = [text.markdown_name(shlex.join(command)) for command in commands]
        rows = [[n, word, *f] for n, word, f in zip(NAMES, code, figures, strict=True)]
        return [*text.markdown_table(headings, rows, words=2), "", closing.format(f"**{verdict}**")]
    rows = [[n, word, *f] for n, word, f in zip(NAMES, words, figures, strict=True)]
    if text.use_colour(sys.stdout):
        verdict = text.paint(verdict, verdict)
    return [*text.plain_table(headings, rows, words=2), "", closing.format(verdict)]


def _to_dict(
    arguments: argparse.Namespace,
    commands: Sequence[list[str]],
    times: Sequence[list[float]],
    comparison: Comparison,
) -> dict[str, Any]:
    return {
        "verdict": comparison.verdict,
        "runs": arguments.runs,
        "warmup": arguments.warmup,
        "alpha": arguments.alpha,
        "min_effect": arguments.min_effect,
        "comparison": comparison.to_dict(),
        "commands": {
            name: {"command": command, "median": statistics.median(values), "seconds": values}
            for name, command, values in zip(NAMES, commands, times, strict=True)
        },
    }

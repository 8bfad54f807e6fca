"""The command line: what is asked for, checked and handed on; the work is done elsewhere.

Everything slow to import is imported in the command that needs it, so that help comes at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

import click

from backendmlp.commands import choices, words
from backendmlp.commands.options import Commands, Interval, Known, Option, PathName, Sectioned
from backendmlp.commands.spelling import as_options
from backendmlp.errors import InputError
from backendmlp.version import __version__

_PATH = PathName()
_KEEPING = "What is kept on the way"


def _backend_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--device",
            cls=Option,
            section=choices.COMPUTING,
            metavar="DEVICE",
            help="cpu, cuda, cuda:1 and so on.",
        ),
        click.option(
            "--backend",
            cls=Option,
            section=choices.COMPUTING,
            default="numpy",
            type=str.lower,
            metavar="[numpy|cupy|torch|jax]",
            show_default=True,
            help="The array library that does the work.",
        ),
    ):
        command = option(command)
    return command


_distributed_option = click.option(
    "--distributed",
    cls=Option,
    section=choices.COMPUTING,
    is_flag=True,
    help="Share each batch among the processes that mpiexec started; the bits stay the same.",
)


def _data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--dataset",
            metavar="[mnist|fashion-mnist|fashion-mnist-sample]",
            help="A full data set, found or downloaded, or the sample shipped here.",
        ),
        click.option(
            "--data",
            type=_PATH,
            metavar="DIR|FILE.npz",
            help="Four IDX files, or x_train, y_train, x_test, y_test.",
        ),
    ):
        command = option(command)
    return command


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="backendmlp")
def cli() -> None:
    """Train a neural network once and get the same bits everywhere."""


@cli.command(short_help="Train a network.", cls=Sectioned)
@_data_options
@choices.choice_options
@click.option("--out", type=_PATH, metavar="DIR", help="Default: a new folder below runs/.")
@click.option(
    "--resume",
    type=_PATH,
    metavar="DIR",
    help="Go on with the run in DIR, on any backend; with more --epochs also after its end. "
    "Pictures in it are drawn anew.",
)
@click.option("--plot", is_flag=True, help="Add pictures: curves, and how the network does.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@_backend_options
@_distributed_option
@click.option(
    "--checkpoint-every",
    cls=Option,
    section=_KEEPING,
    type=Interval(),
    default=(1, None),
    metavar="N|Nm",
    help="Epochs (3) or minutes (5m) between checkpoints.  [default: 1]",
)
@click.option(
    "--keep-epochs/--no-keep-epochs",
    cls=Option,
    section=_KEEPING,
    default=True,
    show_default=True,
    help="Keep the network after each epoch in DIR/epochs/, beyond 64 MiB of every second, fourth "
    "and so on, and the last: there verify counts the entries that differ, and a run that has lost "
    "its checkpoint goes on.",
)
@click.pass_context
def train(context: click.Context, **options: Any) -> None:
    """Train a network; without --data or --dataset, on the sample of Fashion-MNIST shipped here.

    Leaves model.safetensors, run.json (the receipt, for verify) and epochs/ (the network after each
    epoch) in the output folder; while it trains also checkpoint.safetensors, for --resume.

    FILE.npz holds pixels (uint8) or features (floats), and may hold w_train, what each row counts
    for, and x_valid and y_valid, to validate with.  Targets that are no classes are for --loss
    squared_error.
    """
    from backendmlp.commands import train as command

    chosen = {name: options.pop(name) for name in choices.NAMES}
    spelled = {name: value for name, value in chosen.items() if value is not None}
    given = {
        name
        for name in options
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    request = command.Request(**options, choices=spelled, given=frozenset(given))
    sys.exit(command.run(request))


@cli.command(short_help="Train a network for each combination of choices.", cls=Sectioned)
@_data_options
@choices.varied_options
@click.option(
    "--seeds", type=int, metavar="N", help="So many runs of each kind, with seeds from --seed on."
)
@click.option(
    "--out", type=_PATH, metavar="DIR", required=True, help="Where the runs are, or go on."
)
@click.option("--jobs", type=int, metavar="N", help="Runs at a time.  [default: the processors]")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@_backend_options
@click.option(
    "--keep-epochs/--no-keep-epochs",
    cls=Option,
    section=_KEEPING,
    default=False,
    show_default=True,
    help="Keep the network after each epoch in each run's epochs/.",
)
def sweep(**options: Any) -> None:
    """Train a network for each combination of choices: give an option again for each value.

    --lr 0.1 --lr 0.05 --hidden 100 --hidden 256,128 --seeds 5 are 20 runs, several at a time. Each
    has a folder in DIR, named by its choices, and DIR/sweep.csv has the mean and the standard
    deviation over the seeds of each combination; DIR/sweep.png shows them. The same command goes on
    where it was interrupted.

    Exit code 0 where every run was trained; those that diverged are counted in the table, and are
    not tried again.
    """
    from backendmlp.commands import sweep as command

    given = {name: list(found) for name in choices.NAMES if (found := options.pop(name))}
    # As the help has them, and not as a set does: the last one's values change first.
    ordered = {
        choice.name: given[choice.name] for choice in choices.CHOICES if choice.name in given
    }
    command.sweep(options.pop("out"), ordered, **options)


@cli.command(short_help="Loss and accuracy, or R squared, of a trained model.")
@click.argument("model", type=_PATH)
@_backend_options
@_data_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json holds what text shows, written to read back exactly.",
)
def evaluate(model: Path, **options: Any) -> None:
    """Loss and accuracy, or R squared, of MODEL, a file or a run's folder, on a set's test data.

    Without --data or --dataset, on those of the data that it was trained on.
    """
    from backendmlp.commands import use

    use.evaluate(model, **options)


@cli.command(short_help="Classes and probabilities, or what a regression gives.")
@click.argument("model", type=_PATH)
@click.argument("images", type=_PATH, nargs=-1, required=True, metavar="INPUTS...")
@_backend_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "json"]),
    default="text",
    show_default=True,
    help="csv and json hold every probability or output, written to read back exactly.",
)
def predict(model: Path, images: Sequence[Path], **options: Any) -> None:
    """Classes and probabilities that MODEL gives INPUTS, or the outputs of a regression.

    INPUTS are IDX files or PNG pictures, or .npz files with features or pixels, as x or x_test.
    """
    from backendmlp.commands import use

    use.predict(model, images, **options)


@cli.command(short_help="Repeat a run and compare it to the last bit.")
@click.argument("receipt", type=_PATH, metavar="DIR|RUN.JSON")
@_backend_options
@_data_options
@_distributed_option
@click.option("--quiet", is_flag=True, help="Print the verdict alone.")
def verify(receipt: Path, **options: Any) -> None:
    """Train again what RUN.JSON, in DIR perhaps, describes, and compare every epoch to the bit.

    The model.safetensors beside it is held against it too.

    Exit code 0 where all agree, 1 where bits differ, 2 where it cannot be run.
    """
    from backendmlp.commands import check

    sys.exit(check.verify(receipt, **options))


@cli.command(short_help="Pictures of one run, or of several in one.")
@click.argument("runs", type=_PATH, metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--out",
    type=_PATH,
    metavar="DIR",
    help="Default: the run's folder; for several runs the current one.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["png", "svg", "pdf"]),
    default="png",
    show_default=True,
    help="Of the pictures.",
)
@click.option(
    "--titles/--no-titles",
    default=True,
    show_default=True,
    help="Without them there is room for a caption of your own.",
)
@_data_options
def plot(runs: Sequence[Path], **options: Any) -> None:
    """Draw RUN, a run's folder: curves, confusion matrix, hidden units and mistakes.

    Of a regression: curves, and what it predicts beside what is true.

    Several runs give one picture of their curves: those that differ in the seed alone as their mean
    with one standard deviation; those that diverged are left out.  --data and --dataset say where
    the run's data are now.
    """
    from backendmlp.commands import plot as command

    command.plot(runs, **options)


@cli.command(short_help="A trained model for other programs, as ONNX.")
@click.argument("model", type=_PATH)
@click.option("--to", type=Known(["onnx"]), required=True, help="The format.")
@click.option("--out", type=_PATH, metavar="FILE", help="Default: beside MODEL, ending in .onnx.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    help="Of all that it computes.  Default: float64 within, and the model's own in and out.",
)
@click.option(
    "--inputs",
    type=click.Choice(["uint8", "float"]),
    help="What the graph takes: images, or floats, features or images / 255.  Default: what "
    "the model learned from.",
)
def export(model: Path, **options: Any) -> None:
    """Write MODEL, a file or the folder of a run, for other programs.

    The graph takes any number of rows at a time, and gives classes, by their names, and
    probabilities; of a regression its outputs.
    """
    from backendmlp.commands import export as command

    command.export(model, **options)


@cli.command(short_help="What is found here, or what a model or run is.")
@click.argument("path", type=_PATH, required=False, metavar="[MODEL|RUN.JSON|DIR]")
def info(path: Path | None) -> None:
    """The digest, configuration and data of a model, a receipt or a run's folder.

    Without an argument, the backends, devices, BLAS libraries and versions found here.
    """

    from backendmlp.commands import info as command

    command.machine() if path is None else command.describe(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 2 after a user's mistake, told in one sentence on stderr."""
    _open_what_is_closed()
    _print_in_any_encoding()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            code = cli.main(arguments, prog_name="backendmlp", standalone_mode=False)
        sys.stdout.flush()  # here, where a full disk behind it can still be told
        sys.exit(code)
    except InputError as error:
        _fail(as_options(str(error)))
    except OSError as error:  # the folder has its own sentences; this is the output, or bad luck
        _silence_output()
        what = error.filename or "the output"
        _fail(f"{what} cannot be written or read: {error.strerror}; check where it goes")
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.NoSuchOption as error:
        _fail(_no_such_option(error, sys.argv[1:] if arguments is None else arguments))
    except click.ClickException as error:
        text = error.format_message()
        _fail(text + _hint(error))
    except (click.Abort, KeyboardInterrupt):
        with contextlib.suppress(OSError):
            click.echo("Interrupted.", err=True)
        sys.exit(128 + signal.SIGINT)


def _hint(error: click.ClickException) -> str:
    """What else could be said, to end the sentence of ``error``."""
    context, text = getattr(error, "ctx", None), error.format_message()
    takes = {name for entry in context.command.params for name in entry.opts} if context else set()
    if text.startswith("Got unexpected extra argument") and "--hidden" in takes:
        return "; data go with --data or --dataset, several layers with commas: --hidden 256,128"
    if text.endswith("is not a valid float.") and "," in text and "--seeds" in takes:
        return " Give the option again for each value, as --lr 0.1 --lr 0.05."
    return ""


def _no_such_option(error: click.NoSuchOption, arguments: Sequence[str]) -> str:
    """What is said of an option that is none of ours: what it is called here, if anything."""
    option = error.option_name
    if isinstance(error.ctx and error.ctx.command, click.Group):
        return f"No such option {option!r}; options follow a command, as in backendmlp train --help"
    if not option.startswith("--"):  # of -lr, click says -l
        longer = (a for a in arguments if a.startswith(option) and len(a) > len(option))
        option = "-" + next(longer, option)
    takes = {name for entry in error.ctx.command.params for name in entry.opts} if error.ctx else ()
    if "--lr" in takes and option.replace("_", "-") in words.MISSING:
        return f"No such option {option!r}: {words.MISSING[option.replace('_', '-')]}."
    ours = words.meant(option)
    if ours.partition(" ")[0] in takes:
        spelled = option if error.option_name.startswith("--") else option[1:]
        return f"No such option {spelled!r}. Did you mean {ours}?"
    return error.format_message()


def _open_what_is_closed() -> None:
    """Standard streams that are closed lead nowhere; else a file would take their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)
        stream = open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)


def _print_in_any_encoding() -> None:
    """Escape what a terminal's encoding lacks in paths and class names, as stderr always does."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning in one line, without the place in the source that Python would show."""
    with contextlib.suppress(OSError):
        click.echo(f"Warning: {message}", err=True)


def _fail(message: str) -> NoReturn:
    with contextlib.suppress(OSError):
        click.echo(f"Error: {message}", err=True)
    sys.exit(2)


def _silence_output() -> None:
    """Keep Python from flushing at its end what could not be written before."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

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

from backendmlp.arithmetic import NUMERICS
from backendmlp.config import Config
from backendmlp.errors import InputError
from backendmlp.version import __version__

_DEFAULTS = Config()

# What other programs call our options, where the spelling alone does not lead to them.
_SYNONYMS = {
    "--learning-rate": "--lr",
    "--rate": "--lr",
    "--eta": "--lr",
    "--batch": "--batch-size",
    "--batchsize": "--batch-size",
    "--bs": "--batch-size",
    "--minibatch": "--batch-size",
    "--hidden-units": "--hidden",
    "--hidden-size": "--hidden",
    "--units": "--hidden",
    "--epoch": "--epochs",
    "--iterations": "--epochs",
    "--max-iter": "--epochs",
    "--output": "--out",
    "--out-dir": "--out",
    "--output-dir": "--out",
    "--outdir": "--out",
    "--save": "--out",
    "--folder": "--out",
    "--random-seed": "--seed",
    "--random-state": "--seed",
    "--precision": "--dtype",
    "--gpu": "--device",
    "--cuda": "--device",
    "--data-dir": "--data",
    "--input": "--data",
    "--continue": "--resume",
    "--plots": "--plot",
    "--silent": "--quiet",
    "--json": "--format",
    "--csv": "--format",
}


class _Path(click.ParamType):
    """A path; an empty one, as an unset variable of a shell gives, is not the current folder."""

    name = "path"

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        if value == "" or "\0" in str(value):
            self.fail(f"{value!r} cannot be a path; name a file or folder", param, ctx)
        return Path(value)


_PATH = _Path()


class _Interval(click.ParamType):
    """``3`` for epochs, ``5m`` for minutes."""

    name = "epochs|minutes"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int | None, float | None]:
        if isinstance(value, tuple):
            return value
        try:
            if value.endswith("m"):
                minutes = float(value[:-1])
                if 0 < minutes < 1e9:
                    return None, minutes * 60
            elif int(value) > 0:
                return int(value), None
        except ValueError:
            pass
        return self.fail(f"{value!r} is neither epochs (3) nor minutes (5m)", param, ctx)


def _backend_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 and so on."),
        click.option(
            "--backend",
            default="numpy",
            metavar="[numpy|cupy|torch|jax]",
            show_default=True,
            help="The array library that does the work.",
        ),
    ):
        command = option(command)
    return command


def _data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--dataset",
            metavar="[mnist|fashion-mnist]",
            help="A full data set, found or downloaded.",
        ),
        click.option(
            "--data",
            type=_PATH,
            metavar="DIR|FILE.npz",
            help="Four IDX files, or as Keras has them.",
        ),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="backendmlp")
def cli() -> None:
    """Train a neural network once and get the same bits everywhere."""


@cli.command(short_help="Train a network.")
@_backend_options
@click.option(
    "--numerics",
    type=click.Choice(NUMERICS),
    default=_DEFAULTS.numerics,
    show_default=True,
    help="The same bits everywhere, or the library's own arithmetic.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    help="Of native numerics (default float32); bitwise computes in float64.",
)
@_data_options
@click.option(
    "--hidden", type=int, default=_DEFAULTS.hidden, show_default=True, help="Hidden units."
)
@click.option(
    "--epochs",
    type=int,
    default=_DEFAULTS.epochs,
    show_default=True,
    help="Times through the data.",
)
@click.option(
    "--batch-size",
    type=int,
    default=_DEFAULTS.batch_size,
    show_default=True,
    help="Images in a step; 1 for stochastic descent, all of them for full-batch.",
)
@click.option(
    "--lr", type=float, default=_DEFAULTS.lr, show_default=True, help="The learning rate."
)
@click.option(
    "--seed",
    type=int,
    default=_DEFAULTS.seed,
    show_default=True,
    help="Of the initial weights and the shuffles.",
)
@click.option("--out", type=_PATH, metavar="DIR", help="Default: a new folder below runs/.")
@click.option(
    "--resume",
    type=_PATH,
    metavar="DIR",
    help="Go on with the run in DIR, on any backend; with more --epochs also after its end.",
)
@click.option(
    "--checkpoint-every",
    type=_Interval(),
    default=(1, None),
    metavar="N|Nm",
    help="Epochs (3) or minutes (5m) between checkpoints.  [default: 1]",
)
@click.option(
    "--keep-epochs/--no-keep-epochs",
    default=True,
    show_default=True,
    help="Keep the network after each epoch in DIR/epochs/, up to 64 MiB: there verify counts the "
    "entries that differ, and a run that has lost its checkpoint goes on.",
)
@click.option("--plot", is_flag=True, help="Add curves, confusion matrix, weights and mistakes.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def train(context: click.Context, **options: Any) -> None:
    """Train a network; without --data or --dataset, on the sample of Fashion-MNIST shipped here.

    Leaves model.safetensors, run.json (the receipt, for verify) and epochs/ (the network after each
    epoch) in the output folder; while it trains also checkpoint.safetensors, for --resume.
    """
    from backendmlp.commands import train as command

    given = {
        name
        for name in options
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    sys.exit(command.run(command.Request(**options, given=frozenset(given))))


@cli.command(short_help="Loss and accuracy of a trained model.")
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
    """Loss and accuracy of MODEL, a file or the folder of a run, on a data set's test images.

    Without --data or --dataset, on those of the data that it was trained on.
    """
    from backendmlp.commands import use

    use.evaluate(model, **options)


@cli.command(short_help="Classes and probabilities of images.")
@click.argument("model", type=_PATH)
@click.argument("images", type=_PATH, nargs=-1, required=True)
@_backend_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "json"]),
    default="text",
    show_default=True,
    help="csv and json hold every class's probability, written to read back exactly.",
)
def predict(model: Path, images: Sequence[Path], **options: Any) -> None:
    """Classes and probabilities that MODEL gives IMAGES: IDX files or PNG pictures."""
    from backendmlp.commands import use

    use.predict(model, images, **options)


@cli.command(short_help="Repeat a run and compare it to the last bit.")
@click.argument("receipt", type=_PATH, metavar="RUN.JSON")
@_backend_options
@_data_options
@click.option("--quiet", is_flag=True, help="Print the verdict alone.")
def verify(receipt: Path, **options: Any) -> None:
    """Train again what RUN.JSON describes, and compare every epoch to the last bit.

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

    Several runs give one picture of their curves: those that differ in the seed alone as their mean
    with one standard deviation.  --data and --dataset say where the run's data are now.
    """
    from backendmlp.commands import plot as command

    command.plot(runs, **options)


@cli.command(short_help="What is found here, or what a model or run is.")
@click.argument("path", type=_PATH, required=False, metavar="[MODEL|RUN.JSON|DIR]")
def info(path: Path | None) -> None:
    """The digest, configuration and data of a model, a receipt or a run's folder.

    Without an argument, the backends, devices, BLAS libraries and versions found here.
    """
    from backendmlp.commands import check

    check.info() if path is None else check.describe(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 2 after a user's mistake, told in one sentence on stderr."""
    _print_in_any_encoding()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            code = cli.main(arguments, prog_name="backendmlp", standalone_mode=False)
        sys.stdout.flush()  # here, where a full disk behind it can still be told
        sys.exit(code)
    except InputError as error:
        _fail(str(error))
    except OSError as error:  # the folder has its own sentences; this is the output, or bad luck
        _silence_output()
        _fail(f"{error.filename or 'the output'} fails: {error.strerror}; check its place")
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.NoSuchOption as error:
        other = _SYNONYMS.get(error.option_name.replace("_", "-"))
        if other is None or not _takes(error.ctx, other):
            _fail(error.format_message())
        _fail(f"No such option {error.option_name!r}. Did you mean {other}?")
    except click.ClickException as error:
        _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        sys.exit(128 + signal.SIGINT)


def _takes(context: click.Context | None, option: str) -> bool:
    """Whether the command that was called has ``option``."""
    return context is not None and any(option in entry.opts for entry in context.command.params)


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

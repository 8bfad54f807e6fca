"""Everything that a machine with a GPU can tell, in ten minutes, each answer kept at once.

    python scripts/gpu_evidence.py
    python scripts/gpu_evidence.py --quick --out elsewhere

The golden digests by each kind of steps and on PyTorch, the parity table, NVIDIA's sanitizer, the
benchmark and the tests that need CuPy.  Each is a process of its own with a time limit, and leaves
what it said in a file of the folder; ``summary.md`` there is written anew after each.  The last
line, and exit code 1, say what failed.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import click

sys.path.append(str(Path(__file__).resolve().parents[1]))  # unless it is installed

from evidence import summary
from evidence.steps import Step, checks, timed
from evidence.steps import machine as machine_step

_TOGETHER = 4  # checks at a time: bits do not depend on who else uses the GPU
_MINUTES = 9.5


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default="gpu-evidence",
    show_default=True, help="The folder for all files.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="A small run of everything.")
@click.option("--minutes", type=float, default=_MINUTES, show_default=True, help="For all of it.")
def main(out: Path, quick: bool, minutes: float) -> None:
    """Gather all the evidence that this machine has."""
    out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * minutes
    gathered: list[Step] = [machine_step()]
    planned: list[Step] = []

    def tell(step: Step) -> None:
        click.echo(f"{step.name}: {step.outcome}" + (f" ({step.note})" if step.note else ""))
        summary.write(out, gathered + planned)

    gathered[0].run(out, ends)
    machine = gathered[0].found()
    if machine and not machine["devices"]:
        for backend, why in machine["missing"].items():
            click.echo(f"no GPU for {backend}: {why}")
        click.echo("what needs one is left out")
    together = checks(out, machine, quick)
    alone = timed(out, machine, quick, 27 * minutes)
    planned = [*together, *alone]
    tell(gathered[0])
    with ThreadPoolExecutor(_TOGETHER) as pool:
        for future in as_completed([pool.submit(step.run, out, ends) for step in together]):
            tell(future.result())
    for step in alone:
        tell(step.run(out, ends))
    failed = [step.name for step in gathered + planned if step.failed]
    click.echo(f"{out / 'summary.md'} has it all")
    click.echo(f"FAILED: {', '.join(failed)}" if failed else "nothing failed")
    sys.exit(1 if failed else 0)  # fmt: skip


if __name__ == "__main__":
    main()

"""AutoAttack's parts, ours and pyautoattack's in turn: seconds, forwards, backwards, and whether the verdicts agree.

    FAIRBENCH_DATA=... python benchmarks/autoattack.py --checkpoint mnist_fgsm --samples 1000 --threads 2 --processes 2
    FAIRBENCH_DATA=... python benchmarks/autoattack.py --checkpoint mnist_pgd --parts fab-t --steps 20 --precision bf16

Each part runs alone on all samples, each engine in processes of its own, blocks of the package's default size in both.
Ours attacks a copy of the network (`fairbench.models.attack_copy`), lets a sample leave once the original network errs
in float32, and keeps freed memory, as `fairbench eval` does; with `--processes 2` two processes share the samples and
the threads, as with `fairbench eval --processes 2`. The package runs as it is, in one process with all the threads.
`--plain` attacks the network itself with every fast path off. Columns:

    seconds   wall time (`--clock cpu`: processor time of all threads, for a machine that is shared)
    limit     ours without an attack: the same forwards and backwards on the same networks in the same batch sizes
    share     limit / seconds; above 1 where Square follows its squares instead of computing whole forwards
    F, B      forwards and backwards per sample, those that confirm an example included
    broken    samples broken; flips: verdicts that differ from the original's, beside those between two of its seeds
              (FAB draws nothing in its only run, so it has none)
"""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from engines import CLOCKS, Result, ours, reference
from real_networks import EPS, first_images, network, robust_images
from torch import Tensor, nn

from fairbench.allocator import keep_freed_memory
from fairbench.threat import parse_number

PARTS = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square")
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments().parse_args(argv)
    model, x, y, eps = _task(options)
    with torch.no_grad():
        natural = (model(x).argmax(1) == y).sum().item()
    how = f"{options.processes} process(es)" if options.processes > 1 else f"{options.threads} thread(s)"
    print(
        f"{options.checkpoint}, {options.norm} {eps:.6g}, {len(x)} samples ({natural} right), ours {how}, "
        f"pyautoattack {options.threads} thread(s), {options.precision}{', plain' if options.plain else ''}, "
        f"{options.clock} clock, blocks of {options.batch}, {options.steps} steps, {options.queries} queries, "
        f"{options.targets} targets, torch {torch.__version__}"
    )
    print(
        f"{'part':9}{'ours s':>9}{'orig s':>9}{'ratio':>7}{'limit s':>9}{'share':>7}{'F ours':>9}{'orig':>8}"
        f"{'B ours':>8}{'orig':>8}{'broken':>8}{'orig':>6}{'flips':>7}{'orig seeds':>12}"
    )
    total, full = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    for part in options.parts:
        own = _run("ours", part, options)
        first = _run("reference", part, options)
        # FAB's only run begins at the image and draws nothing: its second seed would be its first.
        again = not options.one_seed and not part.startswith("fab")
        second = _run("reference", part, options, seed=1) if again else None
        flips = int((own.broken != first.broken).sum())
        between = "" if second is None else int((first.broken != second.broken).sum())
        print(
            f"{part:9}{own.seconds:9.2f}{first.seconds:9.2f}{first.seconds / own.seconds:7.2f}{own.limit:9.2f}"
            f"{own.limit / own.seconds:7.2f}{own.forwards / len(x):9.1f}{first.forwards / len(x):8.1f}"
            f"{own.backwards / len(x):8.1f}{first.backwards / len(x):8.1f}{int(own.broken.sum()):8d}"
            f"{int(first.broken.sum()):6d}{flips:7d}{between:>12}",
            flush=True,
        )
        seconds = (own.seconds, first.seconds, own.limit)
        total = [a + b for a, b in zip(total, seconds, strict=True)]
        full = [a + b * _times(part, options) for a, b in zip(full, seconds, strict=True)]
    print(f"{'sum':9}{total[0]:9.2f}{total[1]:9.2f}{total[1] / total[0]:7.2f}{total[2]:9.2f}{total[2] / total[0]:7.2f}")
    if (options.steps, options.queries, options.targets) != (100, 5000, 9):
        print(
            f"{'in full':9}{full[0]:9.0f}{full[1]:9.0f}{full[1] / full[0]:7.2f}{full[2]:9.0f}{full[2] / full[0]:7.2f}"
            "   each part times the ratio of the counts of 100 steps, 9 targets and 5,000 queries"
        )
    return 0


def _times(part: str, options: argparse.Namespace) -> float:
    """Return how often a part's counts go into those of the full budget."""
    if part == "square":
        return 5000 / float(options.queries)
    return 100 / options.steps * (9 / options.targets if part.endswith("-t") else 1)


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(","))
    if not set(parts) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"must be of {', '.join(PARTS)}, but is {text!r}")
    return parts


def _task(options: argparse.Namespace) -> tuple[nn.Module, Tensor, Tensor, float]:
    """Return the network, the samples and the radius."""
    model, dataset = network(options.checkpoint, options.dataset)
    known = EPS["mnist" if "mnist" in dataset else "cifar10"]
    eps = known[options.norm] if options.eps is None else parse_number(options.eps, what="--eps")
    pick = robust_images if options.robust else first_images
    return model, *pick(model, dataset, options.samples, eps), eps


def _run(engine: str, part: str, options: argparse.Namespace, *, seed: int = 0) -> Result:
    """Run a part in processes of its own, which begin together, and add up what they did."""
    count = options.processes if engine == "ours" else 1
    context = multiprocessing.get_context("spawn")
    together, results = context.Barrier(count), context.Queue()
    work = [
        context.Process(target=_work, args=(engine, part, options, seed, rank, count, together, results))
        for rank in range(count)
    ]
    for process in work:
        process.start()
    done: dict[int, Result] = {}
    while len(done) < count:
        try:
            rank, result = results.get(timeout=1)
            done[rank] = result
        except queue.Empty:
            if any(process.exitcode not in (None, 0) for process in work):
                for process in work:
                    process.terminate()
                sys.exit(f"a process of {engine} ended early in {part}; its own words stand above.")
    for process in work:
        process.join()
    shares = [done[rank] for rank in range(count)]
    add = max if options.clock == "wall" else sum
    return Result(
        add(share.seconds for share in shares),
        sum(share.forwards for share in shares),
        sum(share.backwards for share in shares),
        add(share.limit for share in shares),
        torch.cat([torch.tensor(share.broken) for share in shares]),
    )


def _work(
    engine: str, part: str, options: argparse.Namespace, seed: int, rank: int, count: int, together: Any, results: Any
) -> None:
    torch.set_num_threads(max(options.threads // count, 1))
    warnings.simplefilter("ignore")
    if engine == "ours":
        keep_freed_memory()  # as the command line does; the package leaves the allocator alone
    model, x, y, eps = _task(options)
    share = slice(len(x) * rank // count, len(x) * (rank + 1) // count)
    x, y = x[share].clone(), y[share].clone()
    together.wait()
    if engine == "ours":
        result = ours(part, model, x, y, eps, options, first=share.start)
    else:
        result = reference(part, model, x, y, eps, options, seed=seed)
    result.broken = result.broken.tolist()
    results.put((rank, result))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", default="mnist_pgd", help="a name in FAIRBENCH_DATA/models, or a checkpoint with its sidecar")
    add("--dataset", help="for a checkpoint of your own: a name, npz:FILE or folder:PATH")
    add("--samples", type=int, default=100)
    add("--robust", action="store_true", help="the first samples that withstand PGD-20 (Linf), instead of the first")
    add("--threads", type=int, default=1, help="of both engines")
    add("--processes", type=int, default=1, help="of ours, which share its threads; the package has no such thing")
    add("--norm", default="Linf", choices=("Linf", "L2", "L1"))
    add("--eps", help="in pixel units; the checkpoint's own in Linf, a usual one else")
    add("--parts", default=STANDARD, type=_parts, help=f"of {', '.join(PARTS)}")
    add("--steps", type=int, default=100, help="of APGD and FAB in both engines")
    add("--queries", type=int, default=5000, help="of Square in both engines")
    add("--targets", type=int, default=9)
    add(
        "--rescale", action="store_true", help="few queries of Square go through the squares of 10,000, in both engines"
    )
    add("--precision", default="float32", choices=("float32", "bf16"))
    add("--batch", type=int, default=250, help="samples per block in both engines (the package's default)")
    add("--clock", default="wall", choices=tuple(CLOCKS))
    add("--plain", action="store_true", help="ours with every fast path off")
    add("--one-seed", action="store_true", help="skip the original's second seed")
    return parser


if __name__ == "__main__":
    sys.exit(main())

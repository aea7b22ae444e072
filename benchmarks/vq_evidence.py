"""Evidence on the codebook lookup: ``python -m benchmarks.vq_evidence``, at the root of a checkout.

Writes ``<output>.md`` and ``<output>/numbers.json``. Measured here: the share of indices that differ from a float64
oracle, and by how much their codes are worse, for every precision on random, offset and unit-length data; usage and
perplexity of the codebook when the demo's tokenizer trains with and without revival of dead codes. Speed and memory are
taken from the JSON that ``python -m benchmarks vq`` wrote into ``benchmarks/results/``.

With the defaults it is about ten minutes' work for one core that has nothing else to do; it shows what is left.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers.utils.logging import disable_progress_bar

from benchmarks.machine import commit, describe_machine
from benchmarks.progress import Progress
from benchmarks.vq_page import committed_speeds, write_page
from gptface.ops import vq_lookup
from gptface.systems.gptface.configuration import Configuration
from gptface.systems.gptface.stages import TOKENIZER
from gptface.training.configuration_files import load_configuration
from gptface.training.run import run_stage

__all__ = [
    "DATA",
    "TRAININGS",
    "compare_indices",
    "contenders",
    "main",
    "measure_indices",
    "measure_training",
    "nearest_codes",
]

OFFSET = 10.0
SHAPES = ((8192, 256), (1024, 64), (16384, 8))  # (codes, length)
PRECISIONS = ("exact", "tf32x3", "tf32", "bf16")
BLOCK = 1 << 24  # elements of one float64 block of distances
# What one core of an AMD EPYC takes for a comparison, a pair of row and code and an element of such a pair, and for a
# step of the demo's tokenizer: the first estimate of the time left comes from these.
PAIR_SECONDS, ELEMENT_SECONDS, STEP_SECONDS = 1.5e-8, 1.5e-10, 0.25

Lookup = Callable[[Tensor, Tensor], Tensor]


class Data(NamedTuple):
    """Rows and codes, and how they are compared."""

    rows: Tensor
    codes: Tensor
    metric: str


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _offset(rows: int, codes: int, length: int) -> Data:
    return Data(_normal(1, rows, length) + OFFSET, _normal(2, codes, length) + OFFSET, "euclidean")


def _unit(rows: int, codes: int, length: int) -> Data:
    x, codebook = _normal(1, rows, length), _normal(2, codes, length)
    return Data(functional.normalize(x, dim=-1), functional.normalize(codebook, dim=-1), "cosine")


DATA: dict[str, Callable[[int, int, int], Data]] = {
    "random": lambda rows, codes, length: Data(_normal(1, rows, length), _normal(2, codes, length), "euclidean"),
    f"offset of {OFFSET:.0f}": _offset,
    "unit length, cosine": _unit,
}

# What the demo's tokenizer is trained with besides its own settings.
TRAININGS: dict[str, list[str]] = {
    "k-means, revival (the demo)": [],
    "k-means, no revival": ["tokenizer.model.revive_below=0"],
    "random start, revival": ["tokenizer.model.kmeans_init=false"],
    "random start, no revival": ["tokenizer.model.kmeans_init=false", "tokenizer.model.revive_below=0"],
}


def nearest_codes(rows: Tensor, codes: Tensor, metric: str) -> Tensor:
    """``(N,)``: the choice of float64 arithmetic; distances from centred values, where expanding the square is safe."""
    rows, codes = rows.double(), codes.double()
    if metric == "cosine":
        codes, bias = functional.normalize(codes, dim=-1), codes.new_zeros(len(codes))
    else:
        centre = codes.mean(0)
        rows, codes = rows - centre, codes - centre
        bias = -0.5 * codes.square().sum(-1)
    parts = rows.split(max(1, BLOCK // len(codes)))
    return torch.cat([torch.addmm(bias, part, codes.T).argmax(-1) for part in parts])


def _scores(rows: Tensor, codes: Tensor, metric: str, indices: Tensor) -> Tensor:
    """``(N,)`` float64: squared distance, negative, or cosine of the rows and the codes chosen for them."""
    rows, chosen = rows.double(), codes.double()[indices]
    if metric == "cosine":
        return functional.cosine_similarity(rows, chosen, dim=-1)
    return -(rows - chosen).square().sum(-1)


def _product_scores(rows: Tensor, codes: Tensor, dtype: torch.dtype) -> Tensor:
    """Distances as most code computes them: the square expanded, nothing centred, everything in ``dtype``."""
    rows, codes = rows.to(dtype), codes.to(dtype)
    return torch.addmm(codes.square().sum(-1), rows, codes.T, alpha=-2.0)


def contenders(metric: str) -> dict[str, Lookup]:
    """Ours at every precision, and the expanded square in float32 and bfloat16."""

    def ours(x: Tensor, codes: Tensor, precision: Any) -> Tensor:
        return vq_lookup(x, codes, metric=metric, precision=precision).indices  # type: ignore[arg-type]

    def expanded(x: Tensor, codes: Tensor, dtype: torch.dtype) -> Tensor:
        parts = x.split(max(1, BLOCK // len(codes)))
        return torch.cat([_product_scores(part, codes, dtype).argmin(-1) for part in parts])

    found: dict[str, Lookup] = {
        f"gptface, {precision}": functools.partial(ours, precision=precision) for precision in PRECISIONS
    }
    found["addmm + argmin, float32"] = functools.partial(expanded, dtype=torch.float32)
    found["addmm + argmin, bfloat16"] = functools.partial(expanded, dtype=torch.bfloat16)
    return found


def compare_indices(rows: Tensor, codes: Tensor, metric: str, best: Tensor, found: Tensor) -> dict[str, float]:
    """Share of ``found (N,)`` that is not ``best (N,)``, and the largest difference of their scores (squared distance
    or cosine), also as a share of the standard deviation of the best scores."""
    scores = _scores(rows, codes, metric, best)
    gap = float((scores - _scores(rows, codes, metric, found)).max().clamp_min(0))
    return {"share": float((found != best).double().mean()), "gap": gap, "relative_gap": gap / float(scores.std())}


def measure_indices(name: str, rows: int, shape: tuple[int, int], device: torch.device) -> Iterator[dict[str, Any]]:
    """One record a contender for the data called ``name`` in :data:`DATA`."""
    codes, length = shape
    data = DATA[name](rows, codes, length)
    x, codebook = data.rows.to(device), data.codes.to(device)
    best = nearest_codes(x, codebook, data.metric)
    for contender, lookup in contenders(data.metric).items():
        figures = compare_indices(x, codebook, data.metric, best, lookup(x, codebook))
        yield {"data": name, "rows": rows, "codes": codes, "length": length, "contender": contender, **figures}


def measure_training(name: str, steps: int, faces: int, folder: Path) -> dict[str, Any]:
    """Train the demo's tokenizer for ``steps`` steps as :data:`TRAININGS` says; its codebook at the end, on held-out
    faces, and along the way, in the batches."""
    output = folder / "".join(letter if letter.isalnum() else "-" for letter in name)
    settings = [f"tokenizer.steps={steps}", "tokenizer.minutes=null", f"tokenizer.log_every={max(1, steps // 10)}"]
    settings += [f"data.count={faces}", f"data.cache_directory={folder / 'cache'}", "tokenizer.tensorboard=false"]
    configuration = load_configuration(Configuration, "demo", [*settings, *TRAININGS[name]])
    model, began = configuration.tokenizer_config(), time.monotonic()
    run_stage(TOKENIZER, configuration, output)  # it shows how far it is
    validation = [json.loads(line) for line in (output / "validation.jsonl").read_text().splitlines()][-1]
    metrics = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return {
        "training": name,
        "overrides": TRAININGS[name],
        "seconds": time.monotonic() - began,
        "codebook_size": model.codebook_size,
        "held_out_faces": configuration.data.validation_count,
        "held_out_tokens": configuration.data.validation_count * model.grid[0] * model.grid[1],
        **{key: validation[key] for key in ("codebook_usage", "codebook_perplexity", "psnr")},
        "course": [{key: line.get(key) for key in ("step", "usage", "perplexity")} for line in metrics],
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/performance/vq"))
    parser.add_argument("--rows", type=int, default=65_536, help="rows of each comparison (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=400, help="steps of each training; 0: none (default: %(default)s)")
    parser.add_argument("--faces", type=int, default=2048, help="faces to train on (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    disable_progress_bar()  # a bar for every saved model would cut through the lines of the progress

    comparisons = {f"indices: {name}, K {shape[0]}, D {shape[1]}": (name, shape) for name in DATA for shape in SHAPES}
    trainings = {f"training: {name}": name for name in TRAININGS} if options.steps else {}
    work = {
        label: options.rows * shape[0] * (PAIR_SECONDS + ELEMENT_SECONDS * shape[1])
        for label, (_, shape) in comparisons.items()
    }
    progress = Progress(work | dict.fromkeys(trainings, options.steps * STEP_SECONDS))

    indices, training = [], []
    for label, (name, shape) in comparisons.items():
        advance = progress.stage(label, 1)
        indices += measure_indices(name, options.rows, shape, device)
        advance(1)
    with tempfile.TemporaryDirectory() as folder:
        for label, name in trainings.items():
            advance = progress.stage(label, 1)
            training.append(measure_training(name, options.steps, options.faces, Path(folder)))
            advance(1)
    progress.finish()

    numbers = {
        "options": f"--rows {options.rows} --steps {options.steps} --faces {options.faces} --device {options.device}",
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "machine": describe_machine(options.device),
        "commit": commit(),
        "torch": torch.__version__,
        "indices": indices,
        "training": training,
        "steps": options.steps,
        "faces": options.faces,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    write_page(options.output.with_suffix(".md"), numbers, committed_speeds())
    print(options.output.with_suffix(".md"))


if __name__ == "__main__":
    main()

"""The report: a page of pictures and numbers of what a trained GPTFace does to fresh procedural faces."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gptface
from gptface.data.procedural import render_face, sample_specification
from gptface.errors import InputError
from gptface.evaluation.curves import draw_curves, read_metrics
from gptface.evaluation.face_set import HELD_OUT_SEED, procedural_faces
from gptface.evaluation.numbers import write_numbers
from gptface.evaluation.page import Page
from gptface.evaluation.pictures import SheetRow, draw_sheet, mask_overlay
from gptface.models import FaceParser
from gptface.systems.gptface import FaceSystem
from gptface.systems.gptface.evaluation.edit_trials import (
    EditTrial,
    EditTrialResult,
    Judge,
    by_wish,
    draw_trials,
    run_trials,
)
from gptface.systems.gptface.evaluation.measurements import measure_system
from gptface.systems.gptface.evaluation.strip import draw_strip
from gptface.systems.gptface.generation import ClassifierFreeGuidance, DecodingSettings, FaceGenerator, ITMGuidance
from gptface.systems.gptface.generation.ranking import CANDIDATES
from gptface.training.hardware import has_fast_bf16

__all__ = ["ReportRequest", "write_report"]

Progress = Callable[[str], None]
Section = Callable[[Page, Path], dict[str, Any]]
"""Adds its blocks to a page, writes its files into a folder, and returns its numbers."""

# Index ranges of the held-out seed, so that no two parts of the report look at the same face.
TRIAL_START = 100_000
PICTURE_START = 200_000
STRIP_START = 300_000
# One network pass for many trials at once: a picture may then differ between batch sizes where two tokens tie.
UNGUIDED = DecodingSettings(
    steps=8, temperature=0.7, classifier_free=ClassifierFreeGuidance(4.0), batch_invariant=False
)
GUIDED = (
    ("exact, 4 candidates", ITMGuidance("exact", weight=8.0, candidates=4)),
    ("first order", ITMGuidance("first_order", weight=12.0, kl_bound=5.0)),
)
CAPTIONS = (
    "a smiling young woman with long blond hair",
    "an old man with gray hair and a mustache",
    "a surprised young man with black hair and glasses",
    "a sad woman with brown hair wearing a hat",
    "a bald man with a beard",
    "an angry young woman with black hair and bangs",
)


@dataclass(frozen=True)
class ReportRequest:
    """A system, its judge, and how much to show of them.

    Attributes:
        system: the system; judge: a parser that took no part in training or editing it.
        output: folder for ``report.html``, its PNGs and ``numbers.json``.
        runs: title -> ``metrics.jsonl`` of the training runs whose curves are shown.
        faces: held-out faces for the figures; trials: edits of each kind.
        seed: of masks and decoding.
        settings: decoding without matching guidance; guided: name -> matching guidance to compare with it.
        further: heading -> section of another system's, at the end of the page.
    """

    system: FaceSystem
    judge: FaceParser
    output: Path
    runs: Sequence[tuple[str, Path]] = ()
    faces: int = 512
    trials: int = 120
    seed: int = 0
    settings: DecodingSettings = UNGUIDED
    guided: Sequence[tuple[str, ITMGuidance]] = GUIDED
    further: Sequence[tuple[str, Section]] = ()

    def __post_init__(self) -> None:
        if self.faces < 2 or self.trials < 1:
            raise InputError(f"a report needs at least 2 faces and 1 trial, got {self.faces} and {self.trials}")


def write_report(request: ReportRequest, progress: Progress = print) -> Path:
    """Measure, draw and write; returns the page's path. Pictures and numbers are written beside it."""
    report = _Report(request, progress)
    request.output.mkdir(parents=True, exist_ok=True)
    return report.write()


class _Report:
    """One method a section; the order of ``write`` is the order of the page."""

    def __init__(self, request: ReportRequest, progress: Progress) -> None:
        self.request, self.progress = request, progress
        self.system, self.judge = request.system, Judge(request.judge)
        self.size = int(self.system.tokenizer.config.image_size)
        self.generator = FaceGenerator(self.system, settings=request.settings)
        self.page = Page("gptface: a face-language system at work")
        self.numbers: dict[str, Any] = {}

    def write(self) -> Path:
        page, request = self.page, self.request
        page.text(
            f"gptface {gptface.__version__}, torch {torch.__version__}, {platform.processor() or platform.machine()}, "
            f"{torch.get_num_threads()} threads, {date.today().isoformat()}. All faces are procedural and fresh: their "
            f"seed ({HELD_OUT_SEED}) takes no part in any training.",
            note=True,
        )
        sections: Sequence[tuple[str, Callable[[], None]]] = (
            ("At a glance", self.strip),
            ("Held-out numbers", self.measurements),
            ("Training", self.curves),
            ("Attribute edits", lambda: self.edits("attribute")),
            ("Expression changes", lambda: self.edits("expression")),
            ("Mask removal", self.mask_removal),
            ("Inpainting", self.inpainting),
            ("Text to face", self.text_to_face),
            ("Face to caption", self.face_to_caption),
        )
        count = len(sections) + len(request.further)
        for number, (title, section) in enumerate(sections, 1):
            self.progress(f"report {number}/{count}: {title.lower()}")
            page.heading(title)
            with self.precision(section):
                section()
        for number, (title, further) in enumerate(request.further, len(sections) + 1):
            self.progress(f"report {number}/{count}: {title.lower()}")
            page.heading(title)
            self.numbers[title.lower().replace(" ", "_")] = further(page, request.output)
        write_numbers(request.output / "numbers.json", self.numbers)
        return page.write(request.output / "report.html")

    def precision(self, section: Callable[[], None]) -> torch.autocast:
        """bfloat16 for the decoding where it is fast, float32 for the measurements."""
        device = self.system.device
        wanted = section != self.measurements and has_fast_bf16(device)
        return torch.autocast(device.type, torch.bfloat16, enabled=wanted)

    def picture(self, name: str, rows: Sequence[SheetRow], headings: Sequence[str], caption: str) -> None:
        self.page.picture(draw_sheet(self.request.output / f"{name}.png", rows, headings, cell=112), caption)

    def strip(self) -> None:
        path = self.request.output / "strip.png"
        draw_strip(self.system, self.guided_settings(), path, seed=HELD_OUT_SEED, start=STRIP_START)
        self.page.picture(path, "The first result of each, whatever became of it")

    def measurements(self) -> None:
        faces = procedural_faces(self.request.faces, self.size)
        numbers, reconstruction = measure_system(self.system, faces, seed=self.request.seed)
        self.numbers["held_out"] = numbers
        grid, codes = self.generator.grid, self.system.tokenizer.config.codebook_size
        rows = (
            ("tokenizer PSNR, mean", "{tokenizer_psnr_db:.2f} dB"),
            ("tokenizer PSNR, the worst tenth is below", "{tokenizer_psnr_db_lowest_tenth:.2f} dB"),
            (f"codebook usage ({codes} codes)", "{codebook_usage:.1%}"),
            ("codebook perplexity", "{codebook_perplexity:.0f}"),
            (f"image: loss at masked tokens (half of {grid[0]} × {grid[1]})", "{masked_image_loss:.3f} nats"),
            ("image: unigram entropy", "{masked_image_unigram_entropy:.3f} nats"),
            ("text: loss at masked tokens (spans, 15 %)", "{masked_text_loss:.3f} nats"),
            ("text: unigram entropy", "{masked_text_unigram_entropy:.3f} nats"),
            ("matching accuracy (chance 50 %)", "{matching_accuracy:.1%}"),
            ("matching accuracy, half of the image masked", "{matching_accuracy_half_masked:.1%}"),
        )
        self.page.table(
            [[name, pattern.format(**numbers)] for name, pattern in rows], ["what", f"{self.request.faces} fresh faces"]
        )
        shown = slice(0, 8)
        self.picture(
            "reconstructions",
            [SheetRow(list(faces.images[shown])), SheetRow(list(reconstruction.reconstructions[shown]))],
            [],
            f"Originals above, what {grid[0] * grid[1]} tokens keep of them below",
        )

    def curves(self) -> None:
        for title, path in self.request.runs:
            metrics = read_metrics(path)
            skipped = ("step", "seconds", "images_per_second", "mfu", "memory_gib", "learning_rate", "epoch")
            names = [name for name in metrics if name not in skipped][:8]
            slug = title.lower().replace(" ", "-")
            self.page.picture(draw_curves(self.request.output / f"curves-{slug}.png", metrics, names, title), title)

    def edits(self, kind: str) -> None:
        request = self.request
        trials = draw_trials(request.trials, kind=kind, seed=HELD_OUT_SEED, start=TRIAL_START, size=self.size)
        results = [run_trials("without matching guidance", trials, self.editor(request.settings), self.judge)]
        for name, guidance in request.guided:
            settings = replace(request.settings, matching=guidance)
            results.append(run_trials(f"with matching guidance: {name}", trials, self.editor(settings), self.judge))
        if self.system.parser is not None:
            name = f"without, the best of {CANDIDATES} by the system's parser"
            results.append(run_trials(name, trials, self.editor(request.settings, CANDIDATES), self.judge))
        best = max(results, key=lambda result: result.share)
        reusing = replace(request.settings, refresh=request.settings.steps)
        results.append(run_trials("without, unknown tokens renewed alone", trials, self.editor(reusing), self.judge))
        originals = self.judge.verdicts(np.stack([trial.image for trial in trials]), trials)
        wanted = np.stack([trial.wanted for trial in trials])
        ceiling = self.judge.verdicts(wanted, trials)
        maps = np.stack([trial.wanted_map for trial in trials])
        parsed = self.judge.regions_right(wanted, maps, results[0].masks)
        self.numbers[f"{kind}_edits"] = {
            "trials": len(trials),
            "originals": float(originals.mean()),
            "ceiling": float(ceiling.mean()),
            "ceiling_by_wish": by_wish(trials, ceiling),
            "ceiling_parsed": parsed,
            "settings": {result.name: _summary(result, results[0]) for result in results},
        }
        self.page.table(
            [
                ["originals (nothing done)", f"{originals.mean():.1%}", "", "", "", "", "", ""],
                *(_edit_row(result, results[0]) for result in results),
                [
                    "the generator's own picture of the wish (ceiling)",
                    f"{ceiling.mean():.1%}",
                    "",
                    "",
                    "1.00",
                    f"{parsed:.1%}",
                    "",
                    "",
                ],
            ],
            [
                "setting",
                "judge agrees",
                "95 % interval",
                "against one draw",
                "sharpness",
                "regions right",
                "pixels changed outside the mask",
                "seconds an edit",
            ],
        )
        self.page.text(
            f"{len(trials)} fresh faces, one wish each; the judge is a classifier trained on the generator's labels "
            "from another seed. The comparison is paired: same faces, same random numbers (p: exact McNemar test). "
            "Sharpness is the gradient energy inside the masks over that of the generator's own pictures there; "
            "regions are right where the judge sees the part of the face that the generator's own picture has. "
            "What the system's parser chose is judged by another network, but both learnt from labels of the same "
            "generator: they err alike now and then.",
            note=True,
        )
        wishes, at_best = sorted(best.by_wish), by_wish(trials, ceiling)
        self.page.table(
            [
                [wish, *(" of ".join(map(str, counts[wish])) for counts in (*(r.by_wish for r in results), at_best))]
                for wish in wishes
            ],
            ["wish", *(result.name for result in results), "ceiling"],
        )
        # The first trials of each wish, whatever became of them: a page of successes only would be a lie.
        chosen = [next(i for i, trial in enumerate(trials) if trial.wish == wish) for wish in wishes]
        rows = [
            SheetRow(
                [
                    trials[i].image,
                    mask_overlay(trials[i].image, best.masks[i]),
                    results[0].images[i],
                    best.images[i],
                    trials[i].wanted,
                ],
                f"{trials[i].wish}: {trials[i].caption}",
            )
            for i in chosen
        ]
        self.picture(
            f"{kind}-edits",
            rows,
            ["original", "what may change", "edit, one draw", "edit, best setting", "generator's own"],
            f"The first trial of every wish; the best setting is: {best.name}",
        )

    def editor(
        self, settings: DecodingSettings, best_of: int = 1
    ) -> Callable[[Sequence[EditTrial]], tuple[np.ndarray, np.ndarray]]:
        """An edit function for the trials: region by the wish, true region maps, one seed a trial."""

        def edit(trials: Sequence[EditTrial]) -> tuple[np.ndarray, np.ndarray]:
            images, masks = [], []
            for part in _parts(trials, 40):
                named = {"attributes" if part[0].kind == "attribute" else "expressions": [t.wish for t in part]}
                result = self.generator.edit(
                    [trial.image for trial in part],
                    [trial.caption for trial in part],
                    region_maps=[trial.region_map for trial in part],
                    seeds=[trial.seed for trial in part],
                    settings=settings,
                    best_of=best_of,
                    **named,  # type: ignore[arg-type]
                )
                images += list(result.images)
                masks += list(result.masks)
            return np.stack(images), np.stack(masks)

        return edit

    def guided_settings(self) -> DecodingSettings:
        """The last of the guided settings: what the pictures below are made with."""
        if not self.request.guided:
            return self.request.settings
        return replace(self.request.settings, matching=self.request.guided[-1][1])

    def mask_removal(self) -> None:
        rows, errors = [], []
        for number, occluder in enumerate(("medical_mask", "sunglasses", "hand") * 2):
            specification = replace(
                sample_specification(HELD_OUT_SEED, PICTURE_START + number), occluder=occluder, expression="happiness"
            )
            covered = render_face(specification, self.size)
            truth = render_face(replace(specification, occluder="none"), self.size)
            try:
                result = self.generator.unmask(covered.image, seeds=number, settings=self.request.settings)
            except InputError as error:
                rows.append(SheetRow([covered.image], f"{occluder}: {error}"))
                continue
            mask, image = result.masks[0], result.images[0]
            errors.append(float(((image != covered.image).any(-1) & ~mask).mean()))
            found = float((mask & covered.occluder_mask).sum() / max(1, covered.occluder_mask.sum()))
            rows.append(
                SheetRow(
                    [covered.image, mask_overlay(covered.image, mask), image, truth.image],
                    f"{occluder}: {found:.0%} of it found by the {result.sources[0]}",
                )
            )
        self.numbers["mask_removal_outside_change"] = max(errors, default=0.0)
        self.picture(
            "mask-removal",
            rows,
            ["covered", "found", "uncovered", "what was there"],
            "What covers the face is found by the parser; what was there cannot be known, only guessed",
        )

    def inpainting(self) -> None:
        generator = np.random.default_rng(self.request.seed)
        rows, errors = [], []
        for number in range(5):
            face = render_face(
                replace(sample_specification(HELD_OUT_SEED, PICTURE_START + 100 + number), occluder="none"), self.size
            )
            side = self.size // 3
            top, left = (int(value) for value in generator.integers(self.size // 5, self.size - side - 6, size=2))
            mask = np.zeros((self.size, self.size), dtype=bool)
            mask[top : top + side, left : left + side] = True
            result = self.generator.inpaint([face.image] * 2, [mask] * 2, seeds=[number, 50 + number])
            errors += [float(((image != face.image).any(-1) & ~mask).mean()) for image in result.images]
            rows.append(SheetRow([mask_overlay(face.image, mask), *result.images, face.image]))
        self.numbers["inpainting_outside_change"] = max(errors)
        self.picture(
            "inpainting",
            rows,
            ["hole", "filled, seed 1", "filled, seed 2", "what was there"],
            "A hole filled twice from different seeds, without a caption",
        )
        self.page.text(f"Largest share of pixels changed outside the mask: {max(errors):.4f}")

    def text_to_face(self) -> None:
        settings = replace(self.guided_settings(), steps=12, classifier_free=ClassifierFreeGuidance(3.0))
        rows = []
        for caption in CAPTIONS:
            result = self.generator.generate([caption] * 5, list(range(5)), settings=settings)
            rows.append(SheetRow(list(result.images), caption))
        self.picture("text-to-face", rows, [], "Five seeds a caption, none left out")

    def face_to_caption(self) -> None:
        faces = [
            procedural
            for procedural in procedural_faces(40, self.size).samples
            if procedural.metadata.get("occluder") == "none"
        ][:8]
        result = self.generator.caption([face.image for face in faces], candidates=4, seeds=self.request.seed)
        truths = [face.caption for face in faces]
        self.page.table(
            [[str(n), *pair] for n, pair in enumerate(zip(result.captions, truths, strict=True), 1)],
            ["face", "the system's caption", "the generator's caption"],
        )
        self.picture("captioned-faces", [SheetRow([face.image for face in faces])], [], "Faces 1 to 8 of the table")


def _parts(items: Sequence[EditTrial], size: int) -> Iterable[Sequence[EditTrial]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _summary(result: EditTrialResult, baseline: EditTrialResult) -> dict[str, Any]:
    return {
        "success": result.share,
        "interval": list(result.interval),
        "outside_change": result.outside_change,
        "sharpness": result.sharpness,
        "parsed": result.parsed,
        "seconds": result.seconds,
        "against_no_guidance": result.against(baseline) if result is not baseline else None,
        "by_wish": {name: list(counts) for name, counts in result.by_wish.items()},
    }


def _edit_row(result: EditTrialResult, baseline: EditTrialResult) -> list[str]:
    low, high = result.interval
    comparison = ""
    if result is not baseline:
        gain = result.against(baseline)
        comparison = (
            f"{100 * gain['difference']:+.1f} points ({gain['gained']:.0f} gained, {gain['lost']:.0f} lost, "
            f"p = {gain['p_value']:.3f})"
        )
    return [
        result.name,
        f"{result.share:.1%}",
        f"{low:.1%} to {high:.1%}",
        comparison,
        f"{result.sharpness:.2f}",
        f"{result.parsed:.1%}",
        f"{result.outside_change:.4f}",
        f"{result.seconds / len(result.success):.2f}",
    ]

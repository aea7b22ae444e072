"""FaceGPT's measurements as commands ask for them: systems opened, data made or read, results written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gptface.data.procedural.randomness import Draws
from gptface.data.sample import Sample
from gptface.data.shards import FaceShards
from gptface.errors import InputError
from gptface.evaluation.labelled_faces import read_labelled_faces
from gptface.evaluation.landmark_faces import read_landmark_faces
from gptface.evaluation.portrait_pairs import read_pairs
from gptface.morphable import matrix_to_angles, rotation_6d_to_matrix
from gptface.progress import Display
from gptface.systems.facegpt.data.backgrounds import PhotoBackgrounds
from gptface.systems.facegpt.data.conversations import Conversation, about_picture, reconstruction
from gptface.systems.facegpt.data.descriptions import about_drawn_face
from gptface.systems.facegpt.data.instructions import read_instructions
from gptface.systems.facegpt.data.rendered import RenderedFaces
from gptface.systems.facegpt.data.sentences import Sentences
from gptface.systems.facegpt.evaluation.emission import compare_general_losses, measure_emission
from gptface.systems.facegpt.evaluation.known_truth import levels_of, measure_known_truth, true_faces
from gptface.systems.facegpt.evaluation.methods import joined, part
from gptface.systems.facegpt.evaluation.photos import Photos, measure_consistency, measure_photos, probe_expressions
from gptface.systems.facegpt.evaluation.sheets import draw_heads, draw_sentences
from gptface.systems.facegpt.evaluation.studio import measure_pairs
from gptface.systems.facegpt.evaluation.systems import OpenSystems, Wanted, open_systems, write_summary
from gptface.systems.facegpt.evaluation.text_alone import Sculpt, measure_sentences, speaking, wishes
from gptface.systems.facegpt.evaluation.text_baseline import (
    random_encoder,
    speaker_encoder,
    train_text_baseline,
    transformers_encoder,
)
from gptface.systems.facegpt.lessons import SculptedFaces
from gptface.systems.facegpt.refinement import check_steps
from gptface.systems.facegpt.system import FaceGPTSystem

__all__ = ["report_emission", "report_photos", "report_studio", "report_text", "report_truth"]

TRAINING_SEED = 0
"""Of the drawn faces that tell the mean face's usual place, and of the sentences that a text baseline learns."""
RANDOM, OWN = "random", "own"


def _drawn(systems: OpenSystems, seed: int, backgrounds: Sequence[str], zoom: float) -> RenderedFaces:
    behind = PhotoBackgrounds.of_files(list(backgrounds)) if backgrounds else None
    return RenderedFaces(systems.model, systems.image_size, seed, backgrounds=behind, zoom=zoom)


def report_truth(
    wanted: Wanted,
    *,
    count: int = 512,
    backgrounds: Sequence[str] = (),
    zoom: float = 1.4,
    fitting: bool = True,
    refine: int = 0,
) -> dict[str, Any]:
    """Known truth: held-out drawn faces; a row a system, beside the mean face and the fit to landmarks.

    Args:
        wanted: systems, seed, where results go.
        count: how many faces.
        backgrounds: photos whose borders stand behind the heads; smooth noise without.
        zoom: how large heads are, see :class:`RenderedFaces`.
        fitting: whether faces are also fitted to their landmarks.
        refine: steps of refinement of a second row a system; 0 for none.

    Raises:
        InputError: whatever of this cannot be had.
    """
    check_steps(refine)
    systems = open_systems(wanted)
    with Display("known truth") as display:
        held_out, others = (_drawn(systems, seed, backgrounds, zoom) for seed in (wanted.seed, TRAINING_SEED))
        faces = true_faces(held_out, others, count, display)
        rows, found = measure_known_truth(faces, systems.methods(refine), fitting=fitting, display=display)
    if wanted.sheet is not None:
        names = [f"face {number}" for number in range(count)]
        draw_heads(wanted.sheet, systems.model, faces.images, {"truth": faces.truth, **found}, names)
    return write_summary(wanted, {"faces": count, "morphable": systems.model.name, "rows": rows})


def report_text(
    wanted: Wanted,
    *,
    count: int = 1000,
    encoders: Sequence[str] = (RANDOM, OWN),
    sentences: int = 20_000,
    steps: int = 4_000,
) -> dict[str, Any]:
    """Text alone: held-out sentences; rows of systems, free and forced, beside frozen text encoders with a face head.

    Args:
        wanted: systems, seed, where results go.
        count: how many sentences.
        encoders: ``"random"`` (a model of the first system's shape with fresh weights), ``"own"`` (the first system's
            states), or folders: of another system, or of any text model of ``transformers``.
        sentences, steps: how much each of these is trained, see :func:`train_text_baseline`.
    """
    systems = open_systems(wanted)
    speakers = systems.speakers()
    own = next(iter(speakers.values()))
    held_out = Sentences(systems.model, wanted.seed, held_out=True)
    training = SculptedFaces(Sentences(systems.model, TRAINING_SEED), own.layout, systems.model)
    with Display("text alone") as display:
        methods: dict[str, Sculpt] = {}
        for name, system in speakers.items():
            for forced in (False, True):
                title = f"{name}, {'forced' if forced else 'free'}"
                methods[title] = speaking(system, forced=forced, name=title, display=display)
        for encoder in encoders:
            title, encode, speaker = _text_encoder(encoder, own, wanted)
            methods[title] = train_text_baseline(
                encode,
                speaker,
                lambda numbers: training(numbers, None),
                sentences=sentences,
                steps=steps,
                name=title,
                display=display,
            )
        wished = wishes(held_out, count)
        rows, found = measure_sentences(systems.model, wished, methods, held_out)
    if wanted.sheet is not None:
        draw_sentences(wanted.sheet, systems.model, [wish.conversation.turns[0].text for wish in wished], found)
    facts = {"sentences": len(wished), "baseline_sentences": sentences, "baseline_steps": steps}
    return write_summary(wanted, {**facts, "rows": rows})


def _text_encoder(encoder: str, own: FaceGPTSystem, wanted: Wanted) -> tuple[str, Any, FaceGPTSystem]:
    """The baseline's name, its frozen encoder, and the system whose layout its head has."""
    if encoder == RANDOM:
        return "random text encoder + MLP", random_encoder(own, TRAINING_SEED), own
    if encoder == OWN:
        return "the system's own states + MLP", speaker_encoder(own), own
    folder = Path(encoder)
    kept = folder / "model" if (folder / "model").is_dir() else folder
    if (kept / "morphable.json").is_file():
        other = FaceGPTSystem.load(folder, wanted.morphable, device=own.model.device)
        return f"frozen {folder.name} + MLP", speaker_encoder(other), own
    return f"frozen {folder.name} + MLP", transformers_encoder(folder, own.model.device), own


def report_emission(
    wanted: Wanted,
    *,
    count: int = 500,
    instructions: Sequence[Path] = (),
    trained: Sequence[Path] = (),
    photos: Sequence[str] = (),
    without_faces: Path | None = None,
    backgrounds: Sequence[str] = (),
    zoom: float = 1.4,
) -> dict[str, Any]:
    """Emission: free answers to held-out questions with and without a face asked for; and the general loss.

    Args:
        wanted: systems, seed, where results go.
        count: how many questions of each source: drawn faces, sentences, general ones and photos.
        instructions: files of general questions to measure on.
        trained: files of those that were trained on: whatever is asked there is left out.
        photos: shards of photos with captions.
        without_faces: a system trained on general questions alone, with the same tokenizer and shape.
        backgrounds, zoom: of the drawn faces.

    Raises:
        InputError: whatever of this cannot be had; a comparison without general questions.
    """
    systems = open_systems(wanted)
    speakers = systems.speakers()
    general = _unknown_questions(instructions, trained)
    if without_faces is not None and not general:
        raise InputError("without faces: general questions are needed to compare by; name a file of instructions")
    rows: list[dict[str, Any]] = []
    with Display("emission") as display:
        for name, system in speakers.items():
            size = system.image_size
            faces = _drawn(OpenSystems({name: system}, systems.model, size), wanted.seed, backgrounds, zoom)
            conversations, pictures = _about_drawn(faces, wanted.seed, count)
            conversations += map(Sentences(systems.model, wanted.seed, held_out=True).conversation, range(count))
            conversations += general[:count]
            more, of_photos = _about_photos(photos, size, wanted.seed, count)
            conversations += more
            rows += measure_emission(name, system, conversations, np.concatenate([pictures, *of_photos]), display)
    summary: dict[str, Any] = {"rows": rows}
    if without_faces is not None:
        other = open_systems(Wanted([without_faces], wanted.morphable, wanted.device)).first
        summary["general"] = compare_general_losses(speakers, other, general)
    return write_summary(wanted, summary)


def _unknown_questions(files: Sequence[Path], trained: Sequence[Path]) -> list[Conversation]:
    """Conversations without a picture, each once, whose questions stand in none of the files trained on.

    Raises:
        InputError: a file that cannot be read, or nothing is left.
    """
    known = {turn.text for file in trained for row in read_instructions(file) for turn in row.conversation.turns[::2]}
    found: dict[tuple[str, ...], Conversation] = {}
    for file in files:
        for row in read_instructions(file):
            asked = tuple(turn.text for turn in row.conversation.turns[::2])
            if row.picture is None and not row.conversation.image and not known & set(asked):
                found.setdefault(asked, row.conversation)
    if files and not found:
        raise InputError(f"instructions: every question of {', '.join(map(str, files))} was trained on")
    return list(found.values())


def _about_drawn(faces: RenderedFaces, seed: int, count: int) -> tuple[list[Conversation], np.ndarray]:
    sentences = Sentences(faces.model, seed)
    conversations, pictures = [], []
    for start in range(0, count, 32):
        batch = faces.batch(range(start, min(count, start + 32)))
        yaws = matrix_to_angles(rotation_6d_to_matrix(batch.parameters.rotation))[0].tolist()
        for number, yaw in zip(batch.numbers.tolist(), yaws, strict=True):
            conversations.append(about_drawn_face(Draws(seed, number), sentences, faces.expression(number), yaw))
        pictures.append(levels_of(batch.images))
    return conversations, np.concatenate(pictures)


def _about_photos(
    paths: Sequence[str], size: int, seed: int, count: int
) -> tuple[list[Conversation], list[np.ndarray]]:
    """Photos by turns asked for their face and for words; pictures as one array in a list, or none."""
    conversations: list[Conversation] = []
    pictures: list[np.ndarray] = []
    if not paths:
        return conversations, []
    for item in FaceShards(list(paths), size):
        if len(conversations) == count:
            break
        if isinstance(item, Sample):
            draws = Draws(seed, len(conversations))
            words = about_picture(draws, item.caption) if len(conversations) % 2 else None
            conversations.append(words or reconstruction(draws))
            pictures.append(item.image)
    if not pictures:
        raise InputError(f"photos: none of {', '.join(paths)} can be used")
    return conversations, [np.stack(pictures)]


def report_photos(
    wanted: Wanted,
    *,
    train: Sequence[str],
    train_landmarks: str,
    test: Sequence[str],
    test_landmarks: str,
    group: str | None = None,
    label: str | None = None,
    classes: Sequence[str] = (),
    count: int | None = None,
    probe_count: int | None = None,
    refine: int = 0,
) -> dict[str, Any]:
    """Real photos: colours, landmarks, consistency and expressions, on people who were not trained on.

    Args:
        wanted: systems, seed, where results go.
        train, train_landmarks: photos that the mean face's place and light, and the probe, are learned from.
        test, test_landmarks: photos that are measured on.
        group: metadata field of the person.
        label, classes: metadata field and its values that a probe on expression weights is to tell apart; without, no
            probe.
        count: test photos at most, spread over all.
        probe_count: training photos of the probe at most.
        refine: steps of refinement of a second row a system, of colours and landmarks; 0 for none.
    """
    check_steps(refine)
    systems = open_systems(wanted)
    size, model, methods = systems.image_size, systems.model, systems.methods()
    known = read_landmark_faces(train, train_landmarks, size, group_field=group, name="training")
    seen = read_landmark_faces(test, test_landmarks, size, group_field=group, name="test")
    both = set(known.people.tolist()) & set(seen.people.tolist()) if group is not None else ()
    if both:
        raise InputError(f"group: {len(both)} people, such as {min(both)}, are among training and test photos")
    photos, others = Photos.of(seen).first(count), Photos.of(known)
    summary: dict[str, Any] = {"photos": len(photos), "people": len(set(photos.people.tolist()))}
    with Display("photos") as display:
        summary["rows"], found = measure_photos(model, photos, others, systems.methods(refine), display)
        summary["consistency"] = measure_consistency(model, photos, methods, found, display)
        if label is not None:
            labelled = [
                read_labelled_faces(paths, size, label, classes, group, name=name)
                for paths, name in ((train, "training"), (test, "test"))
            ]
            if probe_count is not None:
                labelled[0] = labelled[0].spread(probe_count)
            summary["probe"] = probe_expressions(model, labelled[0], labelled[1], methods, display=display)
    if wanted.sheet is not None:
        draw_heads(wanted.sheet, model, photos.images, found, photos.keys)
    return write_summary(wanted, summary)


def report_studio(
    wanted: Wanted,
    *,
    portraits: Sequence[str],
    portrait_landmarks: str | None = None,
    like: Sequence[str] = (),
    like_landmarks: str | None = None,
) -> dict[str, Any]:
    """Portrait pairs: identity of the same person and of others, smile of the smiling portrait and of that at rest.

    Args:
        wanted: systems, seed, where results go.
        portraits: shards of portraits with ``person`` and ``expression``.
        portrait_landmarks: their points, 0 and 1 the pupils; with ``like``.
        like, like_landmarks: photos whose framing the portraits are cut to: that of the training.

    Raises:
        InputError: some of the three without the others, and whatever cannot be read.
    """
    given = (portrait_landmarks is not None, bool(like), like_landmarks is not None)
    if any(given) and not all(given):
        raise InputError("portraits: to cut them like photos, their landmarks, photos and these landmarks are needed")
    systems = open_systems(wanted)
    points = None
    if like_landmarks is not None:
        points = read_landmark_faces(like, like_landmarks, systems.image_size, name="photos").points
    pairs = read_pairs(portraits, systems.image_size, landmarks=portrait_landmarks, like=points)
    with Display("studio") as display:
        rows, found = measure_pairs(systems.model, pairs, systems.methods(), display)
    if wanted.sheet is not None:
        # Four people, each at rest and smiling.
        people = np.linspace(0, len(pairs.people) - 1, min(4, len(pairs.people))).astype(int)
        images = np.concatenate([np.stack((pairs.at_rest[person], pairs.smiling[person])) for person in people])
        heads = {
            name: joined([part(both[which], slice(person, person + 1)) for person in people for which in (0, 1)])
            for name, both in found.items()
        }
        names = [f"{pairs.people[person]} {which}" for person in people for which in ("at rest", "smiling")]
        draw_heads(wanted.sheet, systems.model, images, heads, names, shown=len(images))
    return write_summary(wanted, {"people": len(pairs.people), "rows": rows})

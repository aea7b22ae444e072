"""The files that people have of a VQGAN: wrapped, prefixed, saved by trainers, and those that are something else."""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import tarfile
import zipfile
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gptface.cli.main import main
from gptface.errors import InputError
from gptface.models import FaceTokenizer, load_vqgan_checkpoint
from tests.helpers.published_vqgan import SMALL, PublishedVQGAN, diffusers_configuration, diffusers_layout

NETWORK = PublishedVQGAN()
STATE: dict[str, Tensor] = NETWORK.state_dict()
OTHER: dict[str, Tensor] = PublishedVQGAN(seed=9).state_dict()
LEVELS = len(SMALL["ch_mult"])


def under(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


def without_codebook() -> dict[str, Tensor]:
    return {name: value for name, value in STATE.items() if not name.startswith("quantize.")}


def load(path: Path, **options: Any) -> FaceTokenizer:
    return load_vqgan_checkpoint(path, image_size=32, **options)


def assert_is(model: FaceTokenizer, state: dict[str, Tensor] = STATE) -> None:
    assert torch.equal(model.quantizer.weight, state["quantize.embedding.weight"])
    assert torch.equal(model.encoder.stem.weight, state["encoder.conv_in.weight"])
    assert torch.equal(model.decoder.output.bias, state["decoder.conv_out.bias"])


CONTAINERS: dict[str, Any] = {
    "DistributedDataParallel": under("module."),
    "torch.compile": under("_orig_mod."),
    "both": under("module._orig_mod."),
    "a Lightning module": {"state_dict": under("model.")},
    "a part of a larger model": {**under("vqgan."), "transformer.wte.weight": torch.zeros(3)},
    "model": {"model": STATE, "step": 3},
    "generator": {"generator": STATE, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}},
    "params_ema alone": {"params_ema": under("module.")},
    "ema alone": {"ema": STATE},
    "nested": {"model": {"state_dict": under("module.")}},
    "a condition beside it": {**under("cond_stage_model.", OTHER), **under("first_stage_model.")},
    "a discriminator with an encoder": {**STATE, "loss.discriminator.encoder.conv_in.weight": torch.zeros(1)},
    "moving averages of its codes": {
        **STATE,
        "quantize.embedding.cluster_size": torch.ones(40),
        "quantize.embedding.embed_avg": torch.ones(40, 12),
    },
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_one_prefix_or_container_around_a_vqgan(kind: str, tmp_path: Path) -> None:
    torch.save(CONTAINERS[kind], tmp_path / "vqgan.ckpt")
    assert_is(load(tmp_path / "vqgan.ckpt"))


@pytest.mark.parametrize(
    ("average", "plain"), [("ema", "model"), ("params_ema", "params"), ("vqgan_ema", "vqgan"), ("ema", "")]
)
def test_a_moving_average_is_taken_before_its_original_and_that_is_said(
    average: str, plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vqgan.pt"
    torch.save({average: STATE, plain: OTHER} if plain else {average: STATE, **OTHER}, file)
    with pytest.warns(UserWarning, match=f"'{average}', the moving average, is taken"):
        assert_is(load(file))
    assert_is(load(file, entry=plain), OTHER)
    assert_is(load(file, entry=average))
    with pytest.raises(InputError, match=r"entry is 'teacher'; allowed: "):
        load(file, entry="teacher")
    command = ["convert", str(file), "--image-size", "32", "--output", str(tmp_path / "tokenizer")]
    assert main(command) == 0
    assert capsys.readouterr().err.startswith("gptface: note: ")
    assert_is(FaceTokenizer.from_pretrained(tmp_path / "tokenizer"))


def test_of_several_equals_one_must_be_named(tmp_path: Path) -> None:
    torch.save({"student": STATE, "teacher": OTHER}, tmp_path / "vqgan.pt")
    with pytest.raises(InputError, match=r"several VQGANs; entry= \(--entry\) must be one of 'student', 'teacher'"):
        load(tmp_path / "vqgan.pt")
    assert_is(load(tmp_path / "vqgan.pt", entry="teacher"), OTHER)


class Callback:
    """A trainer's object. Reading it would leave a trace."""

    made: list[str] = []

    def __new__(cls) -> Callback:
        cls.made.append("new")
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        self.made.append("state")


class Settings(dict):
    """A dictionary of a kind of its own."""


def saved_by_a_trainer() -> dict[str, Any]:
    callback, settings = Callback(), Settings(lr=1e-3)
    callback.best = "x"  # type: ignore[attr-defined]
    settings.frozen = True  # type: ignore[attr-defined]
    return {
        "state_dict": {**STATE, "loss.discriminator.main.0.weight": torch.zeros(2)},
        "epoch": 3,
        "callbacks": {Callback: {"best_model_score": torch.tensor(1.0)}, "object": callback},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
        "hyper_parameters": {
            "rate": np.float64(1e-4),
            "sizes": np.arange(3),
            "arguments": argparse.Namespace(folder=Path("/x")),
            "settings": settings,
            "kind": dict,
        },
    }


def test_a_trainers_checkpoint_with_callbacks_and_settings(tmp_path: Path) -> None:
    torch.save(saved_by_a_trainer(), tmp_path / "last.ckpt")
    Callback.made.clear()
    allowed = set(torch.serialization.get_safe_globals())
    assert_is(load(tmp_path / "last.ckpt"))
    assert Callback.made == []
    assert set(torch.serialization.get_safe_globals()) == allowed

    counts: dict[str, list[int]] = defaultdict(list)
    counts["a"].append(1)
    torch.save({"model": STATE, "counts": counts, "window": deque([1.0, 2.0], maxlen=5)}, tmp_path / "other.pt")
    assert_is(load(tmp_path / "other.pt"))


@pytest.mark.parametrize("function", [print, exec, subprocess.run, Path.unlink, shutil.rmtree])
def test_a_trainers_checkpoint_that_names_a_function_is_refused(
    function: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({**saved_by_a_trainer(), "hook": function}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"could run code and is refused\. Where the file is trusted"):
        load(tmp_path / "last.ckpt")
    assert capsys.readouterr().out == ""


def test_a_whole_pickled_network_is_named(tmp_path: Path) -> None:
    torch.save(NETWORK, tmp_path / "network.pt")
    with pytest.raises(InputError, match=r"holds a pickled PublishedVQGAN, not a state dictionary; .*state_dict\(\)"):
        load(tmp_path / "network.pt")
    torch.save({"model": NETWORK, "epoch": 1}, tmp_path / "network.pt")
    with pytest.raises(InputError, match=r"is no VQGAN checkpoint: .* but no tensor"):
        load(tmp_path / "network.pt")


def gumbel() -> dict[str, Tensor]:
    return {
        **without_codebook(),
        "quantize.embed.weight": torch.zeros(40, 12),
        "quantize.proj.weight": torch.zeros(40, 12, 1, 1),
        "quantize.proj.bias": torch.zeros(40),
    }


OTHER_NETWORKS: dict[str, tuple[Any, str]] = {
    "Gumbel": (gumbel(), "it is a Gumbel VQGAN, .*Allowed: a VQGAN trained with VectorQuantizer"),
    "Gumbel with a remap": (
        {"state_dict": {**gumbel(), "quantize.used": torch.arange(5)}},
        "it is a Gumbel VQGAN, .*Allowed: a VQGAN trained with VectorQuantizer",
    ),
    "KL": (without_codebook(), "an encoder but no codebook .*continuous latents .*vq-f4"),
    "Stable Diffusion": (
        {"state_dict": {**under("first_stage_model.", without_codebook()), "model.diffusion_model.out": torch.ones(1)}},
        "an encoder but no codebook .*continuous latents",
    ),
    "codes under another name": (
        {**without_codebook(), "quantize.embed": torch.zeros(40, 12), "quantize.cluster_size": torch.zeros(40)},
        r"of another kind \(quantize\.cluster_size, quantize\.embed\); .*save that tensor under this one",
    ),
    "CodeFormer": (
        {"params_ema": {"encoder.blocks.0.weight": torch.zeros(1), "quantize.embedding.weight": torch.zeros(4, 2)}},
        r"but params_ema\.encoder, params_ema\.quantize",
    ),
    "a classifier": ({"fc.weight": torch.zeros(2)}, r"but fc\.weight"),
}


@pytest.mark.parametrize("kind", OTHER_NETWORKS)
def test_another_network_is_named_for_what_it_is(kind: str, tmp_path: Path) -> None:
    content, message = OTHER_NETWORKS[kind]
    torch.save(content, tmp_path / "vqgan.ckpt")
    with pytest.raises(InputError, match="is no VQGAN checkpoint: .*" + message):
        load(tmp_path / "vqgan.ckpt")


def test_a_remap_gives_the_codes_their_new_numbers(tmp_path: Path) -> None:
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(5)).clamp(-1, 1)
    original, reconstruction = NETWORK(images)
    used = original.unique().flip(0)[::2]  # half of what these pictures need, in another order
    torch.save({"state_dict": {**STATE, "quantize.used": used}}, tmp_path / "last.ckpt")
    model = load(tmp_path / "last.ckpt")
    codes = model.encode(images)
    known = torch.isin(original, used)
    assert known.any() and not known.all()
    for new, old in enumerate(used.tolist()):
        assert bool((codes[original == old] == new).all())
    assert bool((codes[~known] >= len(used)).all())
    torch.testing.assert_close(model.decode(codes), reconstruction.clamp(-1, 1), rtol=1e-4, atol=1e-4)


def write_vq_model(folder: Path, name: str = "diffusion_pytorch_model.safetensors") -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(diffusers_configuration()))
    state = diffusers_layout(STATE, LEVELS, False)
    save_file({key: value.contiguous() for key, value in state.items()}, folder / name)


def test_a_pipeline_of_diffusers(tmp_path: Path) -> None:
    write_vq_model(tmp_path / "vqvae", "diffusion_pytorch_model.fp16.safetensors")
    index = {"_class_name": "LDMPipeline", "unet": ["diffusers", "UNet2DModel"], "vqvae": ["diffusers", "VQModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert_is(load(tmp_path))
    shutil.rmtree(tmp_path / "vqvae")
    with pytest.raises(InputError, match="whose VQModel is missing: there is no folder vqvae/"):
        load(tmp_path)
    del index["vqvae"]
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "vae": ["diffusers", "AutoencoderKL"]}))
    with pytest.raises(InputError, match=r"pipeline without a VQModel \(vae is an AutoencoderKL\); allowed: one with"):
        load(tmp_path)


def test_a_log_folder_of_taming(tmp_path: Path) -> None:
    checkpoints = tmp_path / "logs" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (tmp_path / "logs" / "configs").mkdir()
    torch.save(OTHER, checkpoints / "epoch=000003.ckpt")
    assert_is(load(tmp_path / "logs"), OTHER)
    torch.save(OTHER, checkpoints / "epoch=000007.ckpt")
    with pytest.raises(InputError, match=r"several checkpoints \(epoch=000003\.ckpt, epoch=000007\.ckpt\); give one"):
        load(tmp_path / "logs")
    torch.save({"state_dict": STATE}, checkpoints / "last.ckpt")
    assert_is(load(tmp_path / "logs"))
    assert_is(load(checkpoints))


def archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as zipped:
            zipped.writestr("vqgan.ckpt", b"\x80\x02")
    elif kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("vqgan.ckpt"))
    elif kind == "torchscript":
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
    else:
        torch.save(STATE, buffer)
        return buffer.getvalue()[:-1000]
    return buffer.getvalue()


NOT_CHECKPOINTS: dict[str, tuple[bytes, str]] = {
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Git LFS pointer.*git lfs pull"),
    "HTML": (b"\n<!DOCTYPE html><html>\xe2\x80", "is a web page, not a checkpoint.*download the file itself"),
    "a refusal": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML document"),
    "JSON": (b'{"_class_name": "VQModel"}', "is a text, not a checkpoint; it begins .*Give the file of weights"),
    "gzip": (b"\x1f\x8b\x08\x00", "compressed by gzip; unpack it first"),
    "tar": (archive("tar"), "is a tar archive; unpack it first"),
    "zip": (archive("zip"), "a zip archive that torch.save did not write; unpack it first"),
    "TorchScript": (archive("torchscript"), r"is a TorchScript archive; .*state_dict\(\)"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "is an HDF5 file.*allowed: a checkpoint of PyTorch"),
    "nothing": (b"", "is empty; the download or the copy did not finish"),
    "half": (archive("half"), "ends too early; the download or the copy did not finish"),
}


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("kind", NOT_CHECKPOINTS)
def test_a_file_that_is_no_checkpoint_is_named_for_what_it_is(kind: str, suffix: str, tmp_path: Path) -> None:
    content, message = NOT_CHECKPOINTS[kind]
    (tmp_path / f"vqgan{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=rf"vqgan{suffix}: .*{message}"):
        load(tmp_path / f"vqgan{suffix}")


def test_a_suffix_says_nothing(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "vqgan.ckpt", metadata={"format": "pt"})
    torch.save(STATE, tmp_path / "vqgan.safetensors")
    torch.save(STATE, tmp_path / "vqgan")
    for name in ("vqgan.ckpt", "vqgan.safetensors", "vqgan"):
        assert_is(load(tmp_path / name))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_a_diverged_training_are_named(value: float, tmp_path: Path) -> None:
    broken = {**STATE, "decoder.conv_out.weight": STATE["decoder.conv_out.weight"].clone()}
    broken["decoder.conv_out.weight"][0, 0] = value
    torch.save(broken, tmp_path / "vqgan.pt")
    with pytest.raises(InputError, match=r"NaN or infinite weights in decoder\.conv_out\.weight \(1 in all\)"):
        load(tmp_path / "vqgan.pt")
    torch.save({**STATE, "loss.discriminator.weight": torch.full((2,), value)}, tmp_path / "vqgan.pt")
    assert_is(load(tmp_path / "vqgan.pt"))


def test_quantized_weights_are_named(tmp_path: Path) -> None:
    torch.save({**STATE, "quant_conv.weight": STATE["quant_conv.weight"].to(torch.int8)}, tmp_path / "vqgan.pt")
    with pytest.raises(InputError, match=r"quant_conv\.weight torch\.int8 instead of floating point"):
        load(tmp_path / "vqgan.pt")


def test_a_url_is_named() -> None:
    with pytest.raises(InputError, match=r"https://host/vqgan\.ckpt is a URL, not a path; .*download it first"):
        load_vqgan_checkpoint("https://host/vqgan.ckpt")

"""Published VQGAN checkpoints: the codes and reconstructions of the original network, and nothing unsafe or unfit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModel

from gptface.cli.main import main
from gptface.errors import InputError
from gptface.models import FaceTokenizer, load_vqgan_checkpoint
from tests.helpers.published_vqgan import SMALL, Half, PublishedVQGAN, diffusers_configuration, diffusers_layout

LEVELS = len(SMALL["ch_mult"])
KINDS: dict[str, dict[str, Any]] = {
    "as published": {},
    "no attention": {"attn_resolutions": (), "middle_attention": False},
    "attention at two resolutions": {"attn_resolutions": (16, 8)},
    "wide first step": {"ch_mult": (1, 2), "attn_resolutions": ()},
    "one block a level": {"num_res_blocks": 1},
}


def pictures(side: int = 32) -> Tensor:
    return torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(5)).clamp(-1, 1)


@pytest.fixture(scope="module")
def original() -> PublishedVQGAN:
    return PublishedVQGAN()


def assert_same(model: FaceTokenizer, network: PublishedVQGAN) -> None:
    images = pictures(model.config.image_size)
    codes, reconstruction = network(images)
    assert len(codes.unique()) > 10
    assert not model.training
    with torch.no_grad():
        output = model(images)
    assert torch.equal(model.encode(images), codes) and torch.equal(output.codes, codes)
    torch.testing.assert_close(
        output.reconstruction, reconstruction, rtol=1e-4, atol=1e-4 * float(reconstruction.std())
    )
    torch.testing.assert_close(model.decode(codes), reconstruction.clamp(-1, 1), rtol=1e-4, atol=1e-4)


def write_diffusers(folder: Path, network: PublishedVQGAN, early: bool = False, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**diffusers_configuration(), **changes}))
    state = diffusers_layout(network.state_dict(), LEVELS, early)
    save_file(
        {name: value.contiguous() for name, value in state.items()}, folder / "diffusion_pytorch_model.safetensors"
    )
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_codes_and_reconstructions_are_the_originals(kind: str, tmp_path: Path) -> None:
    network = PublishedVQGAN({**SMALL, **KINDS[kind]}, seed=1)
    torch.save({"state_dict": network.state_dict(), "global_step": 7, "epoch": 1}, tmp_path / "last.ckpt")
    assert_same(load_vqgan_checkpoint(tmp_path / "last.ckpt", image_size=32), network)


def test_every_container_of_the_layout(tmp_path: Path, original: PublishedVQGAN) -> None:
    state = original.state_dict()
    noise = {
        "loss.discriminator.main.0.weight": torch.zeros(3),
        "loss.perceptual_loss.lin0.model.1.weight": torch.ones(1),
    }
    torch.save({**state, **noise}, tmp_path / "bare.pt")
    torch.save({f"first_stage_model.{n}": v for n, v in state.items()} | {"transformer.x": state["quant_conv.bias"]},
               tmp_path / "face_transformer.ckpt")  # fmt: skip
    torch.save({"state_dict": state}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file({**state, "model_ema.decay": torch.zeros(1)}, tmp_path / "model.safetensors")
    for name in ("bare.pt", "face_transformer.ckpt", "old.pth", "model.safetensors"):
        model = load_vqgan_checkpoint(tmp_path / name, image_size=32)
        assert torch.equal(model.quantizer.weight, state["quantize.embedding.weight"]), name
    assert_same(model, original)


@pytest.mark.parametrize("early", [False, True])
def test_diffusers_layout(early: bool, tmp_path: Path, original: PublishedVQGAN) -> None:
    folder = write_diffusers(tmp_path, original, early)
    assert_same(load_vqgan_checkpoint(folder, image_size=32), original)
    weights = folder / "diffusion_pytorch_model.safetensors"
    assert_same(load_vqgan_checkpoint(weights, image_size=32), original)  # config.json lies beside it


def test_diffusers_itself_agrees(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(2)
    network = diffusers.VQModel(
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=2,
        latent_channels=12,
        num_vq_embeddings=64,
        norm_num_groups=8,
        vq_embed_dim=6,
    ).eval()
    images = pictures(16)
    with torch.no_grad():
        latents = network.encode(images).latents
        rows = latents.permute(0, 2, 3, 1).reshape(-1, 6)
        network.quantize.embedding.weight.copy_(rows[torch.randperm(len(rows))[:64]])
        expected = network(images).sample
        codes = network.quantize(latents)[2][2].reshape(4, -1)
    network.save_pretrained(tmp_path)
    model = load_vqgan_checkpoint(tmp_path, image_size=16)
    assert torch.equal(model.encode(images), codes)
    with torch.no_grad():
        torch.testing.assert_close(model(images).reconstruction, expected, rtol=1e-4, atol=1e-5)


def test_the_published_size_and_half_precision(tmp_path: Path) -> None:
    """256², f = 16: the configuration is that of ``FaceTokenizerConfig.paper()`` where the two speak of one thing."""
    settings = {"ch": 128, "ch_mult": (1, 1, 2, 2, 4), "attn_resolutions": (16,), "resolution": 256}
    settings |= {"num_res_blocks": 2, "z_channels": 256, "embed_dim": 256, "n_embed": 1024}
    with torch.device("meta"):
        halves = {"encoder": Half(settings, decodes=False), "decoder": Half(settings, decodes=True)}
        state = {f"{side}.{name}": value for side, half in halves.items() for name, value in half.state_dict().items()}
    for name in ("quant_conv", "post_quant_conv"):
        state |= {f"{name}.weight": torch.empty(256, 256, 1, 1), f"{name}.bias": torch.empty(256)}
    state["quantize.embedding.weight"] = torch.empty(1024, 256)
    # One element expanded: the file has the shapes of 66 million weights and is small.
    state = {name: torch.ones((), dtype=torch.float16).expand(value.shape) for name, value in state.items()}
    torch.save(state, tmp_path / "vqgan.pt")
    model = load_vqgan_checkpoint(tmp_path / "vqgan.pt")
    assert model.quantizer.weight.dtype == torch.float32 and bool(model.encoder.stem.weight.eq(1).all())
    paper = type(model.config).paper()
    for field in ("channels", "encoder_blocks", "decoder_blocks", "attention_levels", "grid", "code_dim", "norm"):
        assert getattr(model.config, field) == getattr(paper, field), field


def test_saved_again_it_is_an_ordinary_tokenizer(tmp_path: Path, original: PublishedVQGAN) -> None:
    torch.save(original.state_dict(), tmp_path / "vqgan.pt")
    loaded = load_vqgan_checkpoint(tmp_path / "vqgan.pt", image_size=32)
    loaded.save_pretrained(tmp_path / "saved")
    for again in (
        FaceTokenizer.from_pretrained(tmp_path / "saved"),
        AutoModel.from_pretrained(tmp_path / "saved", local_files_only=True),
    ):
        for field in type(again.config).field_names():
            assert getattr(again.config, field) == getattr(loaded.config, field), field
        assert_same(again, original)
    # And it can be trained on.
    again.train()
    output = again(pictures())
    (output.reconstruction.square().mean() + output.quantizer_loss).backward()
    assert again.quantizer.weight.grad.abs().sum() > 0


class Runs:
    """Unpickled, this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_that_would_run_code_is_refused_in_one_sentence(
    tmp_path: Path, original: PublishedVQGAN, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = tmp_path / "ran"
    for legacy in (False, True):
        torch.save(
            {"state_dict": original.state_dict(), "callbacks": Runs(ran)},
            tmp_path / "evil.ckpt",
            _use_new_zipfile_serialization=not legacy,
        )
        with pytest.raises(InputError, match=r"evil\.ckpt: is not a file of tensors alone.*refused"):
            load_vqgan_checkpoint(tmp_path / "evil.ckpt")
        assert main(["convert", str(tmp_path / "evil.ckpt"), "--output", str(tmp_path / "out")]) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1 and "refused" in message
        assert not ran.exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("decoder.up.1.block.2.norm2.bias"),
            r"missing decoder\.up\.1\.block\.2\.norm2\.bias \(1 in all\)",
        ),
        (
            lambda s: s.update({"encoder.down.1000000000.block.0.conv2.weight": torch.zeros(1)}),
            r"missing encoder\.down\.3",
        ),
        (lambda s: s.update({"encoder.down.x.weight": torch.zeros(1)}), r"unknown encoder\.down\.x"),
        (
            lambda s: [s.pop(name) for name in list(s) if re.match(r"decoder\.up\.\d\.block", name)],
            r"missing decoder\.up\.0\.block\.0\.conv1\.bias",
        ),
        (lambda s: s.pop("quant_conv.weight"), r"missing quant_conv\.weight"),
        (lambda s: s.update({"encoder.extra.weight": torch.zeros(1)}), r"unknown encoder\.extra\.weight"),
        (lambda s: s.update({"quantize.used": torch.zeros(1)}), r"quantize\.used is torch\.float32 \(1,\)"),
        (lambda s: s.update({"quantize.used": torch.tensor([1, 40])}), "different indices below 40"),
        (
            lambda s: s.update({"encoder.mid.attn_1.k.weight": torch.zeros(64, 32, 1, 1)}),
            r"encoder\.mid\.attn_1\.k\.weight \(64, 32, 1, 1\) instead of \(64, 64, 1, 1\)",
        ),
        (lambda s: s.update({"quant_conv.bias": torch.zeros(7)}), r"quant_conv\.bias \(7,\) instead of \(12,\)"),
        (
            lambda s: s.update({"encoder.conv_in.weight": torch.zeros(16, 3, 3, 3)}),
            "16 channels and the first",
        ),
        (lambda s: s.update({"encoder.conv_out.weight": torch.zeros(48, 64, 3, 3)}), r"encoder\.conv_out\.weight"),
        (lambda s: s.pop("quantize.embedding.weight"), "is no VQGAN checkpoint"),
        (lambda s: s.clear(), "is no VQGAN checkpoint"),
        (
            lambda s: (
                [s.pop(name) for name in list(s) if name.startswith("encoder.down.")]
                + [s.update({"encoder.down.x.weight": torch.zeros(1)})]
            ),
            "is no VQGAN checkpoint",
        ),
    ],
)
def test_what_does_not_fit_is_named(change: Any, message: str, tmp_path: Path, original: PublishedVQGAN) -> None:
    state = dict(original.state_dict())
    change(state)
    torch.save(state, tmp_path / "vqgan.pt")
    with pytest.raises(InputError, match=message):
        load_vqgan_checkpoint(tmp_path / "vqgan.pt", image_size=32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_type": "spatial"}, "norm_type is 'spatial'; allowed: 'group'"),
        ({"act_fn": "gelu"}, "act_fn is 'gelu'"),
        ({"in_channels": 1}, "in_channels is 1"),
        ({"_class_name": "AutoencoderKL"}, "describes a AutoencoderKL"),
        ({"block_out_channels": [32, 64]}, "block_out_channels"),
        ({"num_vq_embeddings": 41}, "num_vq_embeddings 41, the tensors 40"),
        ({"norm_num_groups": 48}, "cannot be normalised in 48 groups"),
    ],
)
def test_diffusers_configurations_of_something_else(
    changes: dict[str, Any], message: str, tmp_path: Path, original: PublishedVQGAN
) -> None:
    with pytest.raises(InputError, match=message):
        load_vqgan_checkpoint(write_diffusers(tmp_path, original, **changes), image_size=32)


def test_files_that_are_no_checkpoints(tmp_path: Path, original: PublishedVQGAN) -> None:
    with pytest.raises(InputError, match=r"nothing\.ckpt: is neither"):
        load_vqgan_checkpoint(tmp_path / "nothing.ckpt")
    for name, content in (("text.ckpt", b"hello"), ("empty.pt", b""), ("text.safetensors", b"hello" * 9)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            load_vqgan_checkpoint(tmp_path / name)
    torch.save(original.state_dict(), tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:5000])
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("cut.pt", "list.pt"):
        with pytest.raises(InputError, match=name):
            load_vqgan_checkpoint(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: holds no checkpoint: neither config\.json"):
        load_vqgan_checkpoint(tmp_path / "empty")
    folder = write_diffusers(tmp_path / "folder", original)
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InputError, match="has none of"):
        load_vqgan_checkpoint(folder)


def test_the_convert_command(tmp_path: Path, original: PublishedVQGAN, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(original.state_dict(), tmp_path / "vqgan.pt")
    command = ["convert", str(tmp_path / "vqgan.pt"), "--output", str(tmp_path / "out"), "--image-size", "32"]
    assert main(command) == 0
    assert "32² images, 8×8 tokens, 40 codes of dimension 12" in capsys.readouterr().out
    assert_same(FaceTokenizer.from_pretrained(tmp_path / "out"), original)
    assert main(command) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*command[:2], "--output", str(tmp_path / "other"), "--image-size", "33"]) == 2
    assert "image_size 33" in capsys.readouterr().err

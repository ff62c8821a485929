"""Weights as people have them: what training programs wrap around them, other libraries' names, and
files that are no weights.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from aigi_core.clip import timm_models
from aigi_core.clip._open_clip import open_clip, timm
from aigi_core.clip.encoder import load_encoder
from aigi_core.clip.timm_models import build, width_of
from aigi_core.clip.weights import read_weights
from aigi_core.errors import AigiError
from tests.tiny_clip import make_tiny_clip

State = dict[str, torch.Tensor]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """Weights of a model that open_clip knows by the name ``tiny``."""
    make_tiny_clip(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", config)
    return dict(load_file(tmp_path / "model" / "open_clip_model.safetensors"))


def digest(model: str, file: Path | None) -> str:
    return load_encoder(model, None if file is None else str(file), device="cpu").weights_sha256


def prefixed(prefix: str) -> Callable[[State], Any]:
    return lambda state: {f"{prefix}{name}": value for name, value in state.items()}


WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "state_dict": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 1.0}},
    "model": lambda state: {"model": state, "args": {"lr": 1.0}},
    "model_state_dict": lambda state: {"model_state_dict": state},
    "module.": prefixed("module."),
    "model.": prefixed("model."),
    "clip.": prefixed("clip."),
    "_orig_mod.": prefixed("_orig_mod."),
    "several": lambda state: {"model": prefixed("module._orig_mod.clip.")(state)},
    "OpenAI's numbers": lambda state: (
        state
        | {n: torch.tensor(7) for n in ("input_resolution", "context_length", "vocab_size")}
        | {"attn_mask": torch.zeros(2, 2)}
    ),
    "scale as a vector": lambda state: state | {"logit_scale": state["logit_scale"].reshape(1)},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrapped_state_dicts(wrapping: str, tiny: State, tmp_path: Path) -> None:
    torch.save(WRAPPINGS[wrapping](tiny), tmp_path / "w.pt")
    assert digest("tiny", tmp_path / "w.pt") == digest(f"local-dir:{tmp_path / 'model'}", None)


@pytest.mark.parametrize("bare", [False, True])
def test_image_tower_only(bare: bool, tiny: State, tmp_path: Path) -> None:
    visual = {k: v for k, v in tiny.items() if k.startswith("visual.")}
    state = {k.removeprefix("visual."): v for k, v in visual.items()} if bare else visual
    save_file(state, tmp_path / "w.safetensors")
    encoder = load_encoder("tiny", str(tmp_path / "w.safetensors"), device="cpu")
    assert torch.equal(encoder.tower.conv1.weight, tiny["visual.conv1.weight"])
    assert not encoder.gives.has("texts")
    assert "image tower only" in encoder.gives.lacks["texts"]


def test_sharded_weights_and_a_missing_part(tiny: State, tmp_path: Path) -> None:
    names = sorted(tiny)
    parts = {"a-00001.safetensors": names[::2], "a-00002.safetensors": names[1::2]}
    for part, kept in parts.items():
        save_file({name: tiny[name] for name in kept}, tmp_path / part)
    index = tmp_path / "a.safetensors.index.json"
    index.write_text(
        json.dumps({"weight_map": {name: part for part, kept in parts.items() for name in kept}})
    )
    assert digest("tiny", index) == digest(f"local-dir:{tmp_path / 'model'}", None)
    (tmp_path / "a-00002.safetensors").unlink()
    with pytest.raises(AigiError, match=r"a-00002.safetensors are missing"):
        digest("tiny", index)
    index.write_text(json.dumps({"weight_map": {"x": "../../etc/passwd"}}))
    with pytest.raises(AigiError, match="outside its folder"):
        digest("tiny", index)


def test_every_name_that_does_not_fit_is_told(tiny: State, tmp_path: Path) -> None:
    lost = [name for name in tiny if "resblocks.1." in name and name.startswith("visual")]
    state = {name: value for name, value in tiny.items() if name not in lost}
    save_file(state | {"extra.weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(AigiError, match="12 missing") as caught:
        digest("tiny", tmp_path / "w.safetensors")
    assert all(name in str(caught.value) for name in [*lost, "extra.weight"])


def test_not_a_number_in_the_weights(tiny: State, tmp_path: Path) -> None:
    tiny["visual.proj"][0, 0] = float("nan")
    save_file(tiny, tmp_path / "w.safetensors")
    with pytest.raises(AigiError, match=r"hold NaN or infinity in visual\.proj"):
        digest("tiny", tmp_path / "w.safetensors")


class Model(torch.nn.Linear):
    """A module pickled whole, as torch.save(model) does it."""


NO_WEIGHTS: dict[str, tuple[str, bytes, str]] = {
    "pointer": ("w.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs"),
    "page": ("w.safetensors", b"\n<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "empty": ("w.pt", b"", "is empty"),
    "text": ("w.pt", b"hello, these are no weights", "is no file of weights"),
    "json": ("w.safetensors", b'{"a": 1}' * 40, "is no safetensors file"),
}


@pytest.mark.parametrize("case", NO_WEIGHTS)
def test_what_is_no_file_of_weights(case: str, tmp_path: Path) -> None:
    name, content, message = NO_WEIGHTS[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AigiError, match=message):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("kind", ["pt", "safetensors", "header"])
def test_half_a_download(kind: str, tiny: State, tmp_path: Path) -> None:
    file = tmp_path / ("w.pt" if kind == "pt" else "w.safetensors")
    torch.save(tiny, file) if kind == "pt" else save_file(tiny, file)
    content = file.read_bytes()
    file.write_bytes(content[: 100 if kind == "header" else len(content) // 2])
    with pytest.raises(AigiError, match="is cut off"):
        read_weights(file)


def test_a_module_saved_whole_and_the_remedy(tiny: State, tmp_path: Path) -> None:
    torch.save(Model(2, 2), tmp_path / "w.pt")
    with pytest.raises(AigiError, match=r"holds an object of .*Model") as caught:
        read_weights(tmp_path / "w.pt")
    assert "torch.save(model.state_dict(), 'weights.pt')" in str(caught.value)
    torch.save(Model(2, 2).state_dict(), tmp_path / "weights.pt")
    assert set(read_weights(tmp_path / "weights.pt").state) == {"weight", "bias"}


def test_another_image_size_is_refused_and_the_hint_followed(
    tiny: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = json.loads(json.dumps(open_clip.factory._MODEL_CONFIGS["tiny"]))
    other["vision_cfg"]["image_size"] = 64
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-64", other)
    monkeypatch.setattr(open_clip, "list_models", lambda: ["tiny", "tiny-64"])
    torch.save(open_clip.CLIP(**other).state_dict(), tmp_path / "w.pt")
    with pytest.raises(AigiError, match="for images of 64 pixels .* takes 32 pixels") as caught:
        digest("tiny", tmp_path / "w.pt")
    hint = str(caught.value).partition("one of ")[2].rstrip(".")
    assert hint == "tiny-64"
    assert load_encoder(hint, str(tmp_path / "w.pt"), device="cpu").preprocessing.size == 64


def test_another_text_length_is_refused(tiny: State, tmp_path: Path) -> None:
    tiny["positional_embedding"] = tiny["positional_embedding"][:20].clone()
    torch.save(tiny, tmp_path / "w.pt")
    with pytest.raises(AigiError, match="texts of 20 tokens, the model takes 77"):
        digest("tiny", tmp_path / "w.pt")


def test_the_activation_is_part_of_what_identifies_an_encoder(tiny: State, tmp_path: Path) -> None:
    save_file(tiny, tmp_path / "w.safetensors")
    one, other = (
        load_encoder("tiny", str(tmp_path / "w.safetensors"), device="cpu", activation=kind)
        for kind in ("GELU", "QuickGELU")
    )
    assert one.weights_sha256 == other.weights_sha256
    assert one.describe()["settings"] != other.describe()["settings"]


def test_folders_with_several_weights(tiny: State, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    first = load_encoder(f"local-dir:{folder}", None, device="cpu").weights_sha256
    for epoch in (2, 10):
        changed = tiny | {"logit_scale": torch.tensor(float(epoch))}
        torch.save({"state_dict": changed}, folder / f"epoch_{epoch}.pt")
    assert digest(f"local-dir:{folder}", None) == first  # the usual name is taken, and said
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(AigiError, match=r"several weights \(epoch_10.pt, epoch_2.pt\)") as caught:
        digest(f"local-dir:{folder}", None)
    advice = str(caught.value).partition("--pretrained ")[2].partition(",")[0]
    assert advice == f"such as --model local-dir:{folder} --pretrained epoch_10.pt." or advice
    encoder = load_encoder(f"local-dir:{folder}", "epoch_2.pt", device="cpu")
    assert encoder.pretrained == "epoch_2.pt"
    assert encoder.describe()["model"] == "local-dir:model"


@pytest.mark.parametrize("name", ["", "x", "a/b/c", "a b/c", "../x", "laion/", "/x"])
def test_malformed_names_of_repositories(name: str) -> None:
    with pytest.raises(AigiError, match=r"names no repository .* write hf-hub:OWNER/REPO"):
        load_encoder(f"hf-hub:{name}", None, device="cpu")


def test_advice_for_a_hub_out_of_reach_can_be_followed(
    tiny: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag: ``--model NAME --pretrained FILE`` as the message has it. A repository: a folder."""
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    config = open_clip.factory._MODEL_CONFIGS["tiny"]
    monkeypatch.setitem(
        open_clip.factory._MODEL_CONFIGS, "tiny-quickgelu", config | {"quick_gelu": True}
    )
    tag = {"hf_hub": "nobody/tiny/", "quick_gelu": True}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda m, t: tag if t == "some" else None)
    monkeypatch.setattr(open_clip, "list_models", lambda: ["tiny", "tiny-quickgelu"])
    with pytest.raises(AigiError, match="did not give them") as caught:
        load_encoder("tiny", "some", device="cpu")
    save_file(tiny, tmp_path / "FILE")
    words = str(caught.value).rstrip(".").split()
    name, file = words[words.index("--model") + 1], words[words.index("--pretrained") + 1]
    encoder = load_encoder(name, str(tmp_path / file), device="cpu")
    assert encoder.settings["activation"].startswith("QuickGELU")  # as the tag would have it

    with pytest.raises(AigiError, match=r"did not give them.* --model local-dir:DIR"):
        load_encoder("hf-hub:nobody/tiny", None, device="cpu")
    load_encoder(f"local-dir:{tmp_path / 'model'}", None, device="cpu")


# transformers


def hugging_face_clip(state: State) -> State:
    """open_clip's names to CLIPModel's, written down by hand from the library's module tree."""
    out: State = {"logit_scale": state["logit_scale"]}
    for side, ours in (("vision_model", "visual."), ("text_model", "")):
        layer = 0
        while f"{ours}transformer.resblocks.{layer}.ln_1.weight" in state:
            a = f"{ours}transformer.resblocks.{layer}."
            b = f"{side}.encoder.layers.{layer}."
            for kind in ("weight", "bias"):
                parts = state[f"{a}attn.in_proj_{kind}"].chunk(3)
                for part, value in zip("qkv", parts, strict=True):
                    out[f"{b}self_attn.{part}_proj.{kind}"] = value.clone()
                out[f"{b}self_attn.out_proj.{kind}"] = state[f"{a}attn.out_proj.{kind}"]
                out[f"{b}layer_norm1.{kind}"] = state[f"{a}ln_1.{kind}"]
                out[f"{b}layer_norm2.{kind}"] = state[f"{a}ln_2.{kind}"]
                out[f"{b}mlp.fc1.{kind}"] = state[f"{a}mlp.c_fc.{kind}"]
                out[f"{b}mlp.fc2.{kind}"] = state[f"{a}mlp.c_proj.{kind}"]
            layer += 1
    for theirs, ours in (
        ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
        ("vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight"),
        ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
        ("vision_model.pre_layrnorm.weight", "visual.ln_pre.weight"),
        ("vision_model.pre_layrnorm.bias", "visual.ln_pre.bias"),
        ("vision_model.post_layernorm.weight", "visual.ln_post.weight"),
        ("vision_model.post_layernorm.bias", "visual.ln_post.bias"),
        ("text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
        ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
        ("text_model.final_layer_norm.weight", "ln_final.weight"),
        ("text_model.final_layer_norm.bias", "ln_final.bias"),
    ):
        out[theirs] = state[ours]
    out["visual_projection.weight"] = state["visual.proj"].T.contiguous()
    out["text_projection.weight"] = state["text_projection"].T.contiguous()
    out["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    return out


CLIP_CONFIG = {
    "model_type": "clip",
    "projection_dim": 24,
    "vision_config": {
        "image_size": 32,
        "patch_size": 8,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "hidden_act": "gelu",
    },
    "text_config": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "hidden_act": "gelu",
    },
}


@pytest.mark.parametrize("form", ["file", "folder"])
def test_names_of_hugging_faces_clip(form: str, tiny: State, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    save_file(hugging_face_clip(tiny), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CLIP_CONFIG))
    ours = digest(f"local-dir:{tmp_path / 'model'}", None)
    if form == "file":
        assert digest("tiny", folder / "model.safetensors") == ours
    else:
        assert digest(f"local-dir:{folder}", None) == ours


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_a_folder_that_save_pretrained_wrote(act: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPConfig(
        text_config=CLIP_CONFIG["text_config"] | {"hidden_act": act, "vocab_size": 49408},
        vision_config=CLIP_CONFIG["vision_config"] | {"hidden_act": act},
        projection_dim=24,
    )
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(tmp_path / "saved")
    encoder = load_encoder(f"local-dir:{tmp_path / 'saved'}", None, device="cpu")
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        vision = model.vision_model(pixel_values=images).pooler_output
        expected = model.visual_projection(vision)
        torch.testing.assert_close(encoder.tower(images), expected, atol=1e-5, rtol=1e-4)
    assert encoder.gives.has("texts")


def test_names_of_hugging_faces_siglip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    from aigi_core.clip._open_clip import timm

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = sizes | {"intermediate_size": 64, "image_size": 32, "patch_size": 8}
    vision["hidden_act"] = "gelu"  # of the pool and blocks, as timm's configuration has it
    text = sizes | {"intermediate_size": 64, "vocab_size": 100, "max_position_embeddings": 16}
    model = transformers.SiglipModel(
        transformers.SiglipConfig(vision_config=vision, text_config=text)
    ).eval()
    original = timm.create_model
    small = {"embed_dim": 32, "depth": 2, "num_heads": 4, "img_size": 32, "patch_size": 8}
    monkeypatch.setattr(
        open_clip.timm_model.timm,
        "create_model",
        lambda name, **k: original(name, **(k | small | {"mlp_ratio": 2.0})),
    )
    config = {
        "embed_dim": 32,
        "custom_text": True,
        "init_logit_bias": -10,
        "vision_cfg": {
            "image_size": 32,
            "timm_model_name": "vit_base_patch16_siglip_224",
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 100,
            "hf_tokenizer_name": "nobody/nothing",
            "width": 32,
            "heads": 4,
            "layers": 2,
            "mlp_ratio": 2.0,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
        },
    }
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-siglip", config)
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "w.safetensors"
    )
    encoder = load_encoder("tiny-siglip", str(tmp_path / "w.safetensors"), device="cpu")
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = model.vision_model(pixel_values=images).pooler_output
        torch.testing.assert_close(encoder.tower(images), expected, atol=1e-4, rtol=1e-3)
    assert encoder.gives.heads == "pooled" and not encoder.gives.has("texts")


# Models of timm

SMALL = (
    "mobilenetv3_small_050",  # one more layer behind the averaged positions, as all up to vgg11
    "tf_mobilenetv3_small_minimal_100",
    "mobilenetv4_conv_small_035",
    "lcnet_035",
    "ghostnet_050",
    "repghostnet_050",
    "efficientvit_b0",
    "hgnetv2_b0",
    "inception_next_atto",
    "test_mambaout",
    "hardcorenas_a",
    "fasternet_t0",
    "lowformer_b0",
    "vgg11",
    "test_vit",
    "test_resnet",
    "test_efficientnet",
    "test_convnext",
)


@pytest.mark.parametrize("name", SMALL)
def test_a_trunks_width_is_that_of_what_it_gives(name: str) -> None:
    with torch.device("meta"), torch.inference_mode():
        trunk = build(name).eval()
        size = timm.data.config.resolve_model_data_config(trunk)["input_size"]
        assert trunk(torch.zeros(1, *size)).shape == (1, width_of(trunk))


def test_a_trunk_that_gives_many_vectors_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As encoders of language models, of which timm has no small one."""
    made = build("test_convnext")
    made.head.global_pool = made.head.flatten = torch.nn.Identity()
    monkeypatch.setattr(timm_models, "build", lambda *_, **__: made)
    with pytest.raises(AigiError, match=r"of width 64, but .* gives 64 x \d+ x \d+: name"):
        load_encoder("timm:test_convnext", None, device="cpu")
    assert load_encoder("timm:test_convnext@3", None, device="cpu").embedding_width == 64


@pytest.mark.parametrize(("stage", "width"), [(0, 16), (3, 112), (4, 320)])
def test_a_stage_of_a_trunk_is_averaged_over_positions(stage: int, width: int) -> None:
    name = "timm:tf_efficientnet_lite0"
    encoder, whole = (load_encoder(n, None, device="cpu") for n in (f"{name}@{stage}", name))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        outputs = whole.tower.forward_intermediates(images, intermediates_only=True)
        expected = outputs[stage].mean(dim=(-2, -1))
        torch.testing.assert_close(encoder.tower(images), expected)
    assert encoder.embedding_width == width and not encoder.gives.heads
    assert encoder.describe()["model"] == f"{name}@{stage}"
    assert encoder.weights_sha256 != whole.weights_sha256


def test_a_block_of_a_vision_transformer_leaves_the_class_token_out() -> None:
    encoder = load_encoder("timm:vit_tiny_patch16_224@2", None, device="cpu")
    trunk = load_encoder("timm:vit_tiny_patch16_224", None, device="cpu").tower
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        tokens = trunk._pos_embed(trunk.patch_embed(images))
        for block in trunk.blocks[:3]:
            tokens = block(tokens)
        torch.testing.assert_close(encoder.tower(images), tokens[:, 1:].mean(dim=1))


@pytest.mark.parametrize("stage", ["5", "-1", "last", ""])
def test_a_stage_that_is_not_there(stage: str) -> None:
    with pytest.raises(AigiError, match="5 stages, numbered from 0, of 16, 24, 40, 112, 320"):
        load_encoder(f"timm:tf_efficientnet_lite0@{stage}", None, device="cpu")

"""Loading checkpoints in the published layout, and refusing what is not one."""

import json
import shutil

import pytest
import torch

import tiny
from unireason.core.errors import ModelError
from unireason.grounding.profile import BUILT_IN
from unireason.model import checkpoint as checkpoints
from unireason.model import files, tokens, vision


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A sharded checkpoint with the older form of the image-processor file."""
    folder = tmp_path_factory.mktemp("published")
    tiny.save(folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def change(path, **values):
    table = json.loads(path.read_text())
    table.update(values)
    path.write_text(json.dumps(table))


def test_sharded_checkpoint_comes_back_unchanged(saved):
    assert len(list(saved.glob("model-*.safetensors"))) > 1
    written = tiny.checkpoint()
    loaded = checkpoints.load(saved, device="cpu")
    state = loaded.network.state_dict()
    assert all(torch.equal(state[k], v) for k, v in written.network.state_dict().items())
    assert loaded.name == saved.name
    assert loaded.profile == tiny.PROFILE
    assert loaded.ids == written.ids
    assert loaded.pixel_limits == (784, 4704)
    assert not loaded.network.training
    text = "<|box_start|>[1,2]<|box_end|>  ünï\n<think>x</think>"
    assert tokens.encode_text(loaded, text) == tokens.encode_text(written, text)


def test_both_forms_of_pixel_limits_give_the_same_pictures(saved, copy):
    (copy / "preprocessor_config.json").unlink()
    inner = {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2, "size": {"shortest_edge": 784, "longest_edge": 4704}}
    (copy / "processor_config.json").write_text(json.dumps({"image_processor": inner}))
    pictures = list(tiny.stack(side=90).slices)
    old, new = (vision.prepare(checkpoints.load(f, device="cpu"), pictures) for f in (saved, copy))
    assert old.grid_thw == new.grid_thw == ((1, 4, 4),) * 4  # 84 x 84 exceeds 4704 pixels, 56 x 56 does not
    assert torch.equal(old.pixel_values, new.pixel_values)


def test_bf16_file_is_read_as_float32_on_a_cpu_and_as_stored_when_asked(tmp_path):
    tiny.save(tmp_path, dtype=torch.bfloat16)
    assert checkpoints.load(tmp_path, device="cpu").dtype == torch.float32
    assert checkpoints.load(tmp_path, device="cpu", dtype="bf16").dtype == torch.bfloat16


def test_tied_embeddings_load(tmp_path):
    tiny.save(tmp_path, tie=True)
    network = checkpoints.load(tmp_path, device="cpu").network
    assert torch.equal(network.lm_head.weight, network.get_input_embeddings().weight)


def test_default_profile_without_a_profile_file(copy):
    (copy / "profile.toml").unlink()
    assert checkpoints.load(copy, device="cpu").profile == BUILT_IN["default"]


def test_chat_template_of_an_older_layout(copy):
    (copy / "chat_template.jinja").unlink()
    (copy / "chat_template.json").write_text(json.dumps({"chat_template": tiny.TEMPLATE}))
    assert checkpoints.load(copy, device="cpu").tokenizer.chat_template == tiny.TEMPLATE


def test_fingerprint_follows_weights_and_configuration(saved, copy, monkeypatch):
    def sha(folder):
        return files.fingerprint(folder, files.check(folder)[1])

    assert sha(saved) == sha(copy)
    assert sha(saved)[1] == "files"
    shard = sorted(copy.glob("model-*.safetensors"))[-1]
    raw = bytearray(shard.read_bytes())
    raw[-1] ^= 1
    shard.write_bytes(raw)
    assert sha(saved)[0] != sha(copy)[0]
    monkeypatch.setattr(files, "_HASH_WHOLE_BYTES", 10)
    assert sha(saved) == sha(copy)  # headers only: values are not seen, and the second item says so
    assert sha(saved)[1] == "headers"
    change(copy / "config.json", extra=1)
    assert sha(saved)[0] != sha(copy)[0]


def test_other_architecture_is_refused(copy):
    change(copy / "config.json", model_type="llama")
    with pytest.raises(ModelError, match="'llama'"):
        checkpoints.load(copy)


def test_pickled_weights_are_refused_unread(copy):
    for path in copy.glob("model*"):
        path.unlink()
    with pytest.raises(ModelError, match="no weights"):
        checkpoints.load(copy)
    (copy / "pytorch_model.bin").write_bytes(b"\x80\x04boom")
    with pytest.raises(ModelError, match="pickled"):
        checkpoints.load(copy)


def test_missing_shard_is_named(copy):
    sorted(copy.glob("model-*.safetensors"))[1].unlink()
    with pytest.raises(ModelError, match="model-00002-of"):
        checkpoints.load(copy)


def test_index_cannot_point_outside_its_folder(copy):
    change(copy / "model.safetensors.index.json", weight_map={"a": "../other.safetensors"})
    with pytest.raises(ModelError, match="own folder"):
        checkpoints.load(copy)


def test_weights_that_do_not_cover_the_network(copy):
    index = json.loads((copy / "model.safetensors.index.json").read_text())
    gone = next(v for k, v in index["weight_map"].items() if "layers.1.mlp" in k)
    index["weight_map"] = {k: v for k, v in index["weight_map"].items() if v != gone}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="missing"):
        checkpoints.load(copy, device="cpu")


def test_broken_weight_file(copy):
    shard = sorted(copy.glob("model-*.safetensors"))[0]
    shard.write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError):
        checkpoints.load(copy, device="cpu")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json", "preprocessor_config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", ["{", "[]", '"x"', "\udcff"])
def test_broken_json_files(copy, name, content):
    (copy / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError):
        checkpoints.load(copy, device="cpu")


def test_missing_special_token(copy):
    path = copy / "tokenizer.json"
    path.write_text(path.read_text().replace("<|box_end|>", "<|other|>"))
    with pytest.raises(ModelError, match=r"lacks <\|box_end\|>"):
        checkpoints.load(copy, device="cpu")


def test_image_token_of_another_tokenizer(copy):
    change(copy / "config.json", image_token_id=5)
    with pytest.raises(ModelError, match="image_token_id is 5"):
        checkpoints.load(copy, device="cpu")


def test_patch_size_that_does_not_fit_the_network(copy):
    change(copy / "preprocessor_config.json", patch_size=16)
    with pytest.raises(ModelError, match="patch_size is 16"):
        checkpoints.load(copy, device="cpu")


@pytest.mark.parametrize("value", [0, -1, "784", 1.5, True])
def test_pixel_limits_must_be_positive_numbers(copy, value):
    change(copy / "preprocessor_config.json", min_pixels=value)
    with pytest.raises(ModelError, match="min_pixels"):
        checkpoints.load(copy, device="cpu")


@pytest.mark.parametrize("ref", ["no/such/folder/here", "nothing", "", "../x/y", "a b/c"])
def test_references_that_name_nothing(ref):
    with pytest.raises(ModelError):
        checkpoints.load(ref) if ref else checkpoints.load("no-such-name")


def test_a_file_is_not_a_folder(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="is a file"):
        checkpoints.load(path)


def test_hub_without_network_is_a_clear_error(monkeypatch):
    import huggingface_hub

    asked = {}

    def fail(repo, **options):
        asked.update(options, repo=repo)
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match="hub cannot be reached"):
        checkpoints.load("owner/name")
    assert asked["repo"] == "owner/name"
    assert not any("bin" in p or "py" in p for p in asked["allow_patterns"])


def test_an_offline_hub_is_not_a_missing_repository(monkeypatch, tmp_path):
    """The hub client's own words for it are those of a file that is not found."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="cannot be reached, for HF_HUB_OFFLINE") as caught:
        files.locate("owner/name")
    assert "hf download owner/name --local-dir FOLDER" in str(caught.value)


class _Response:
    def __init__(self, status):
        self.status_code, self.headers, self.request = status, {}, None


def _hub_error(name, cause=None, status=None):
    import huggingface_hub.errors

    kind = getattr(huggingface_hub.errors, name)
    error = kind.__new__(kind)
    error.__cause__ = cause
    if status:
        error.response = _Response(status)
    return error


@pytest.mark.parametrize(
    ("error", "words", "remedy"),
    [
        (
            lambda: _hub_error("LocalEntryNotFoundError", ConnectionError("DNS")),
            "cannot be reached .ConnectionError",
            "Go online",
        ),
        (lambda: _hub_error("LocalEntryNotFoundError", TimeoutError()), "cannot be reached .TimeoutError", "Go online"),
        (lambda: _hub_error("OfflineModeIsEnabled"), "cannot be reached, for HF_HUB_OFFLINE", "go online"),
        (lambda: TimeoutError("read"), "cannot be reached", "Go online"),
        (lambda: _hub_error("HfHubHTTPError", status=503), "cannot be reached", "Go online"),
        (lambda: _hub_error("GatedRepoError", status=403), "is gated", "hf auth login"),
        (lambda: _hub_error("RepositoryNotFoundError", status=401), "no repository of that name", "a private one needs a login"),
        (lambda: _hub_error("HfHubHTTPError", status=403), "refuses access", "hf auth login"),
        (lambda: OSError(28, "No space left on device"), "cannot be kept", "HF_HOME"),
    ],
)
def test_what_keeps_a_repository_away_is_told_apart(monkeypatch, error, words, remedy):
    import huggingface_hub

    def fail(repo, **options):
        raise error()

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match=words) as caught:
        files.locate("owner/name")
    assert remedy in str(caught.value)
    assert "--local-dir FOLDER" in str(caught.value)


@pytest.mark.parametrize(("method", "package"), [("bitsandbytes", "bitsandbytes"), ("awq", "gptqmodel"), ("hqq", "hqq")])
def test_a_missing_quantisation_package_is_named(copy, method, package):
    table = {"quant_method": method, "bits": 4, "load_in_4bit": True}
    change(copy / "config.json", quantization_config=table)
    with pytest.raises(ModelError, match=f"quantised .{method}") as caught:
        checkpoints.load(copy, device="cpu")
    assert f"pip install {package}" in str(caught.value)
    assert "ownload it again" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("needs xyz"), "a package is missing"),
        (RuntimeError("CUDA out of memory"), "does not fit into memory"),
        (ValueError("cut short"), "ownload it again"),
    ],
)
def test_only_damage_is_to_be_downloaded_again(copy, monkeypatch, error, words):
    from transformers import Qwen2_5_VLForConditionalGeneration

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Qwen2_5_VLForConditionalGeneration, "from_pretrained", fail)
    with pytest.raises(ModelError, match=words) as caught:
        checkpoints.load(copy, device="cpu")
    assert ("ownload it again" in str(caught.value)) == (type(error) is ValueError)


def test_a_path_is_not_looked_up_on_the_hub(monkeypatch, tmp_path):
    import huggingface_hub
    from huggingface_hub.errors import RepositoryNotFoundError

    asked = []

    def absent(repo, **options):
        asked.append(repo)
        raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", absent)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for ref in ("./x", "/nowhere/x", "a/b/c", "a/b/", "runs/sft", "~/nowhere", tmp_path / "x"):
        with pytest.raises(ModelError, match=f"there is no folder '{ref}'"):
            files.locate(ref)
    assert asked == []
    with pytest.raises(ModelError, match="Check the path: 'runs' is there"):
        files.locate("runs/sft/checkpoint")
    with pytest.raises(ModelError, match="no folder 'owner/name' here, and the hub has no repository"):
        files.locate("owner/name")
    assert asked == ["owner/name"]


@pytest.mark.parametrize("options", [{"device": "toaster"}, {"dtype": "int8"}, {"dtype": torch.float16}])
def test_unknown_device_and_type(saved, options):
    with pytest.raises(ModelError):
        checkpoints.load(saved, **{"device": "cpu", **options})


def test_think_tags_may_be_missing():
    ids = tiny.checkpoint(think=False).ids
    assert ids.think_start is None
    assert ids.think_end is None
    assert tiny.checkpoint().ids.think_start is not None


def test_flat_configuration_and_names_of_the_first_releases(tmp_path):
    """Text sizes at the top level, rotary sections under ``rope_scaling``, tensors named ``model.layers`` and ``visual``."""
    from safetensors.torch import load_file, save_file

    written = tiny.save(tmp_path, shard_size="1GB")
    path = tmp_path / "model.safetensors"
    renamed = {}
    for name, tensor in load_file(path).items():
        renamed[name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")] = tensor
    assert any(n.startswith("visual.") for n in renamed)
    assert any(n.startswith("model.layers.") for n in renamed)
    save_file(renamed, path, metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    rope = config["text_config"].pop("rope_parameters")
    flat = {**config.pop("text_config"), **config, "model_type": "qwen2_5_vl", "rope_theta": rope["rope_theta"]}
    flat["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    (tmp_path / "config.json").write_text(json.dumps(flat))
    loaded = checkpoints.load(tmp_path, device="cpu")
    state = loaded.network.state_dict()
    assert all(torch.equal(state[k], v) for k, v in written.network.state_dict().items())
    row = torch.tensor([[65, 66, 67]])
    with torch.no_grad():
        assert torch.equal(loaded.network(row).logits, written.network(row).logits)


def test_a_card_is_no_part_of_the_checkpoint(tmp_path):
    tiny.save(tmp_path)
    before = checkpoints.load(tmp_path, device="cpu").sha256
    (tmp_path / "card.json").write_text("{}")
    assert checkpoints.load(tmp_path, device="cpu").sha256 == before
    (tmp_path / "other.json").write_text("{}")
    assert checkpoints.load(tmp_path, device="cpu").sha256 != before


def test_a_folder_without_a_checkpoint_says_where_that_of_a_run_is(tmp_path):
    with pytest.raises(ModelError, match=r"holds no checkpoint\. Expected a folder with config\.json and weights\.$"):
        files.locate(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ModelError, match="has not finished: start it again"):
        files.locate(tmp_path)
    for name in ("best", "checkpoint"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"inside: take '.*/checkpoint' or '.*/best'\.$"):
        files.locate(tmp_path)
    assert files.locate(tmp_path / "best") == tmp_path / "best"

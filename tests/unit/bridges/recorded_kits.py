"""The base classes of VLMEvalKit and lmms-eval as their runners use them, for machines without these packages.

Recorded from VLMEvalKit, commit e8e78f0 (``vlmeval/vlm/base.py``, ``vlmeval/inference.py``), lmms-eval 0.7.3 (``lmms_eval/api/model.py``,
``lmms_eval/evaluator.py``, ``lmms_eval/models/registry_v2.py``) and MedEvalKit, commit 9b12e3b (``LLMs.py``, ``utils/base_dataset.py``):
what they call on a model, in which order, with which arguments. Nothing else of them is here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace


class BaseModel:
    """VLMEvalKit: ``generate`` checks the message and hands it to the class."""

    allowed_types = ("text", "image", "video")

    def __init__(self):
        self.dump_image_func = None

    def use_custom_prompt(self, dataset):
        return False

    def set_dump_image(self, function):
        self.dump_image_func = function

    def generate(self, message, dataset=None):
        assert all(set(item) >= {"type", "value"} and item["type"] in self.allowed_types for item in message)
        return self.generate_inner(message, dataset)


def vlmevalkit_run(model, messages, dataset):
    """As ``infer_data`` asks a model that is no service."""
    assert not getattr(model, "is_api", False)
    model.set_dump_image(lambda line: [])
    assert not model.use_custom_prompt(dataset)
    return [str(model.generate(message=message, dataset=dataset)) for message in messages]


class lmms:  # noqa: N801
    """lmms-eval: a model is made from text arguments and asked with a list of instances."""

    is_simple = True

    def __init__(self):
        self.task_dict = {}

    @classmethod
    def create_from_arg_string(cls, arguments, additional):
        return cls(**arguments, **{key: value for key, value in additional.items() if value is not None})


@dataclass
class ModelManifest:
    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


def lmms_eval_run(model, name, functions, docs):
    """As its evaluator asks a task of type ``generate_until`` and scores what comes back."""
    model.task_dict[name] = {"test": docs}
    settings = {"max_new_tokens": 1024, "temperature": 0, "do_sample": False}
    requests = [
        SimpleNamespace(args=(functions.doc_to_text(doc), dict(settings), functions.doc_to_visual, number, name, "test"))
        for number, doc in enumerate(docs)
    ]
    replies = model.generate_until(requests)
    scores = [functions.process_results(doc, [reply.strip()]) for doc, reply in zip(docs, replies, strict=True)]
    return replies, scores


def medevalkit_run(model, samples):
    """As ``BaseDataset.run`` does it."""
    replies = model.generate_outputs([sample["messages"] for sample in samples])
    return [reply for _, reply in zip(samples, replies, strict=True)]


def install(monkeypatch):
    """Put the recorded packages where the bridges look for them, unless the real ones are installed."""
    for name, values in {
        "vlmeval.vlm.base": {"BaseModel": BaseModel},
        "lmms_eval.api.model": {"lmms": lmms},
        "lmms_eval.models.registry_v2": {"ModelManifest": ModelManifest},
    }.items():
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
        for key, value in values.items():
            setattr(sys.modules[name], key, value)

"""Bytes to Graph: the only room that knows protobuf and onnxruntime."""

from lipaudit.loading.inputs import Held
from lipaudit.loading.model import Loaded, ModelFacts, Refusal, RefusedModel, TensorFacts
from lipaudit.loading.open import load_model
from lipaudit.loading.sources import ModelLike, as_content

__all__ = [
    "Held",
    "Loaded",
    "ModelFacts",
    "ModelLike",
    "Refusal",
    "RefusedModel",
    "TensorFacts",
    "as_content",
    "load_model",
]

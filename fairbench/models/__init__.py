"""Architectures, normalisation inside the network, checkpoints and their sidecars."""

from fairbench.models.normalize import Normalized, bare, normalized, parse_normalize
from fairbench.models.registry import MODELS, ModelSpec, build_model

__all__ = ["MODELS", "ModelSpec", "Normalized", "bare", "build_model", "normalized", "parse_normalize"]

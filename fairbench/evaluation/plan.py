"""What one evaluation is asked to do, checked before any work: its settings decide every number."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fairbench.attacks import AttackConfig, parse_attacks, preset_eps, split_attacks
from fairbench.data.dataset import Dataset
from fairbench.data.load import default_threat
from fairbench.errors import BadInput
from fairbench.evaluation.networks import check_precision, device_of
from fairbench.evaluation.units import check_engine
from fairbench.runs import PROTOCOL_VERSION, to_json
from fairbench.threat import Threat


@dataclass(frozen=True)
class Plan:
    """The settings of one evaluation. `batch_size` and `threads` are None where the default holds."""

    dataset: Dataset
    configs: tuple[AttackConfig, ...]
    threat: Threat
    seed: int
    batch_size: int | None
    precision: str
    engine: str
    device: torch.device
    threads: int | None
    model_record: Mapping[str, Any]
    save_adversarial: bool = False
    allow_random: bool = False

    def attacks(self) -> dict[str, dict[str, Any]]:
        """Return every keyword of every attack, resolved, by name."""
        return {config.name: config.resolved(self.threat, self.dataset.num_classes) for config in self.configs}

    def settings(self) -> dict[str, Any]:
        """Return everything that the outcomes depend on: work that was begun with other settings is another run."""
        data, model = self.dataset, self.model_record
        # Neither by name: a file or folder may have moved.
        samples = f"{len(data)} of {data.split}, {data.selection}, index {data.index_sha256}, content {data.sha256}"
        return {
            "model": f"sha256 {model.get('sha256')}, normalize {model.get('normalize')}",
            # Weights alone do not say what a network does with them; a sidecar's architecture belongs to its weights.
            **({"--model": model.get("architecture")} if "architecture_from" in model else {}),
            **({"the code behind --model": model["source_sha256"]} if "source_sha256" in model else {}),
            "dataset": samples,
            "threat": str(self.threat),
            "attacks": self.attacks(),
            "seed": self.seed,
            # Which parts attack in bfloat16, and what they ask again, is the second of two ways.
            "precision": "bf16 (2)" if self.precision == "bf16" else self.precision,
            "engine": self.engine,
            "batch size": self.batch_size or "default",
            "threads": self.threads or "default",
            "device": self.device.type,
            "protocol": PROTOCOL_VERSION,
            # No number depends on it, but a folder without examples cannot be finished with them.
            **({"adversarial examples": "saved"} if self.save_adversarial else {}),
            **({"random model": "allowed"} if self.allow_random else {}),
        }

    def digest(self) -> str:
        """Return the settings' fingerprint, 64 hexadecimal digits."""
        return hashlib.sha256(to_json(self.settings()).encode()).hexdigest()


def make_plan(
    dataset: Dataset,
    attacks: Sequence[str] | str,
    *,
    norm: str = "Linf",
    eps: str | float | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    precision: str = "float32",
    engine: str = "native",
    device: str | torch.device = "cpu",
    threads: int | None = None,
    model_record: Mapping[str, Any],
    save_adversarial: bool = False,
    allow_random: bool = False,
) -> Plan:
    """Check what was asked for and return the plan.

    Raises:
        BadInput: any word that is unknown, does not fit the others, or is out of range.
    """
    configs = tuple(parse_attacks(split_attacks(attacks) if isinstance(attacks, str) else attacks))
    threat = threat_for(dataset.name, norm, eps if eps is not None else preset_eps(configs))
    for what, value, least in (("batch size", batch_size, 1), ("threads", threads, 1), ("seed", seed, 0)):
        if value is not None and value < least:
            raise BadInput(f"{what} must be at least {least}, but is {value}.")
    check_engine(engine)
    check_precision(precision)
    for config in configs:
        config.check(threat)
        if config.family == "aa":
            check_engine(engine, config, dataset.num_classes)
            if precision == "bf16" and (engine == "reference" or allow_random):
                what = "the package's engine" if engine == "reference" else "a random model"
                raise BadInput(
                    "AutoAttack in bf16 is for the native engine and models without noise, where FAB and Square stay "
                    f"in float32 and narrow calls are asked again, but this is {what}; use --precision float32."
                )
            if allow_random and config.keywords["version"] != "rand":
                raise BadInput(
                    f"a random model needs AutoAttack's version for such, but the attack is {config.name[:60]!r}; "
                    "write 'aa(version=rand)'."
                )
    return Plan(
        dataset, configs, threat, seed, batch_size, precision, engine, device_of(device), threads, model_record,
        save_adversarial, allow_random,
    )  # fmt: skip


def threat_for(dataset: str, norm: str, eps: str | float | None) -> Threat:
    """Return the threat model; `eps` None is the data set's own radius.

    Raises:
        BadInput: an unknown norm, a radius out of range, or none where the data set has none.
    """
    norm = Threat.parse(norm, 0.0).norm
    text = eps if eps is not None else default_threat(dataset, norm)
    if text is None:
        raise BadInput(
            f"data set {dataset[:100]!r} has no default radius in {norm}; give one with --eps, such as 8/255."
        )
    return Threat.parse(norm, text)


def model_sha256(model: nn.Module) -> str:
    """Return a fingerprint of a model's class, parameters and buffers (persistent or not)."""
    digest = hashlib.sha256(type(model).__qualname__.encode())
    for kind, tensors in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, tensor in sorted(tensors):
            value = tensor.detach().cpu().contiguous()
            digest.update(f"{kind} {name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

"""Every flag by name, with what it means and what to do: one list, one module.

A flag says that an attack's failure may come from the model's arithmetic and not from its robustness. What makes a
number meaningless is no flag but a refusal (`fairbench.evaluation.trust`). Known signs only: no flag proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FlagKind:
    """What a flag means, and what the person should do."""

    meaning: str
    advice: str


FLAGS: dict[str, FlagKind] = {
    "batch-size": FlagKind(
        "an image's logits change with the size of its batch",
        "use running statistics and operations that treat each image alone",
    ),
    "constant-logits": FlagKind(
        "logits stay the same to the last bit from image to image, or under noise of the radius",
        "check the weights, the normalisation and what is done to the pixels before the first layer",
    ),
    "optimises-at-inference": FlagKind(
        "the model computes gradients in its own forward pass",
        "evaluate the network without its purification or optimisation, and attack the whole with an adaptive attack",
    ),
    "zero-gradients": FlagKind(
        "the gradient of the margin is exactly zero or not finite although the logits change within the radius",
        "take rounding, steps and clamps out of the forward pass, or give their backward pass a smooth stand-in (BPDA)",
    ),
    "wrong-gradients": FlagKind(
        "the gradient of the margin is not what finite differences measure",
        "take custom backward passes, detach and rounding out of the forward pass, or attack a smooth stand-in (BPDA)",
    ),
    "saturated-logits": FlagKind(
        "the cross-entropy's gradient is lost in float32 because the logits are too large",
        "divide the logits by a constant, which changes no prediction, or attack with cw or aa",
    ),
    "margin-not-lowered": FlagKind(
        "an attack with gradients raised the margin above that of the natural image",
        "do not trust this attack's number: run aa, and look for zero, random or wrong gradients with fairbench check",
    ),
    "fewer-steps-win": FlagKind(
        "an attack of fewer steps breaks more than one of more steps",
        "do not trust the number of the longer attack: run aa, with Square",
    ),
    "plain-attack-wins": FlagKind(
        "a plain attack breaks images that the whole of AutoAttack calls robust",
        "take the worst case over all attacks, and attack with more iterations and restarts",
    ),
    "still-rising": FlagKind(
        "the attack's loss still rises in its last iterations",
        "attack with more steps until the loss no longer rises",
    ),
    "not-monotone": FlagKind(
        "a smaller radius breaks more images than a larger one",
        "take the worst case over smaller radii, and look for rounding, steps or randomness in the forward pass",
    ),
    "unbounded-eps": FlagKind(
        "images stay robust although every image is allowed",
        "do not trust gradient attacks on this model: no network is robust there, so use Square or an adaptive attack",
    ),
    "square-wins": FlagKind(
        "Square, which sees no gradients, breaks images that attacks with gradients call robust",
        "run aa with all of Square's queries and several restarts, and write an adaptive attack",
    ),
    "transfer-wins": FlagKind(
        "examples made on another network break images that attacks on the model itself call robust",
        "attack the model through this surrogate (more steps, several surrogates), and write an adaptive attack",
    ),
}


def flag(name: str, evidence: str, label: int | None = None) -> dict[str, Any]:
    """Return the entry of run.json's `flags`: of the whole model, or of the class `label`."""
    return {"name": name, "severity": "warning", "class": label, "evidence": evidence, "advice": FLAGS[name].advice}

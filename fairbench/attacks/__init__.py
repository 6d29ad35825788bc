"""Attacks: keyword-only functions (model, x, y, *, eps, random, ...) -> x_adv, and the strings that name them.

Importing this package does not load torch: names and strings are read before it is needed.
"""

from fairbench.attacks.registry import ATTACKS, PRESETS, describe_attacks, describe_presets
from fairbench.attacks.strings import (
    Attack,
    AttackConfig,
    attack_function,
    parse_attack,
    parse_attacks,
    preset_eps,
    split_attacks,
)

__all__ = [
    "ATTACKS",
    "PRESETS",
    "Attack",
    "AttackConfig",
    "attack_function",
    "describe_attacks",
    "describe_presets",
    "parse_attack",
    "parse_attacks",
    "preset_eps",
    "split_attacks",
]

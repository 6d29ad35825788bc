"""Training methods and class rules, by the names that the command line knows."""

from __future__ import annotations

from fairbench.errors import unknown
from fairbench.methods.absld import ABSLD, ABSLDRule
from fairbench.methods.adaad import AdaAD
from fairbench.methods.ard import ARD
from fairbench.methods.base import Method
from fairbench.methods.bat import BAT
from fairbench.methods.cfa import CFA, CFARule
from fairbench.methods.class_reweighted_kd import ClassReweightedKD, RiskWeightRule
from fairbench.methods.class_rule import ClassRule
from fairbench.methods.dafa import DAFA, DAFARule
from fairbench.methods.faal import FAAL, FAALRule
from fairbench.methods.fair_ard import FairARD, FairARDRule
from fairbench.methods.frl import FRL, FRLRule
from fairbench.methods.ham import HAM
from fairbench.methods.iad import IAD
from fairbench.methods.mart import MART
from fairbench.methods.mtard import MTARD
from fairbench.methods.natural import Natural
from fairbench.methods.rslad import RSLAD
from fairbench.methods.sat import SAT
from fairbench.methods.trades import TRADES
from fairbench.methods.vulnerable import VulnerableRule
from fairbench.methods.wat import WAT, WATRule

__all__ = ["CLASS_RULES", "METHODS", "find_class_rule", "find_method"]

METHODS: dict[str, type[Method]] = {
    "natural": Natural,
    "sat": SAT,
    "trades": TRADES,
    "mart": MART,
    "ard": ARD,
    "iad": IAD,
    "adaad": AdaAD,
    "rslad": RSLAD,
    "mtard": MTARD,
    "frl": FRL,
    "bat": BAT,
    "cfa": CFA,
    "wat": WAT,
    "fair-ard": FairARD,
    "dafa": DAFA,
    "faal": FAAL,
    "ham": HAM,
    "absld": ABSLD,
    "class-reweighted-kd": ClassReweightedKD,
}

CLASS_RULES: dict[str, type[ClassRule]] = {
    "absld": ABSLDRule,
    "cfa": CFARule,
    "dafa": DAFARule,
    "faal": FAALRule,
    "fair-ard": FairARDRule,
    "frl": FRLRule,
    "risk-weight": RiskWeightRule,
    "vulnerable": VulnerableRule,
    "wat": WATRule,
}


def find_method(name: str) -> type[Method]:
    """Return a method by name.

    Raises:
        BadInput: no such method, with the nearest name.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def find_class_rule(name: str) -> type[ClassRule]:
    """Return a class rule by name.

    Raises:
        BadInput: no such rule, with the nearest name.
    """
    if name not in CLASS_RULES:
        raise unknown("class rule", name, CLASS_RULES)
    return CLASS_RULES[name]

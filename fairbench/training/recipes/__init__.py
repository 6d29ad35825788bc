"""The recipes of the papers, as named functions: `fairbench.recipes.absld_cifar10()`.

The values are those of the authors' scripts at the commit that each function names, unless it says that the paper's
were read. Where a value is not known, the function does not exist. Scripts that take another network by an option of
theirs (ARD, IAD, AdaAD, WAT, DAFA) keep the other values; so does `--model` here.

What is the same everywhere, and differs from the authors': checkpoints are selected on validation images by the
authors' rule (they used test images), all weights take part in weight decay as there, and the validation images are not
trained on. Learning rates fall at the epochs where they fell when the scripts ran.

What stays out, and why:

- SAT without AWP: its authors' values were not read, and a re-implementation's are not its recipe.
- AT-AWP on CIFAR-100: the script rotates images by up to 15 degrees, and no augmentation here does.
- MART-AWP and RST-AWP: results, but no script.
- AdaAD on Tiny-ImageNet: the script knows no teacher for it. AdaAD within 16/255, selected at 8/255: the radius of
  validation here is that of training. AdaIAD is no method here.
- ABSLD on CIFAR-100 and Tiny-ImageNet: teachers and values could not be read; the script is CIFAR-10's.
- Fair-ARD and its kin on CIFAR-100, SVHN and Tiny-ImageNet: values could not be read; the scripts are CIFAR-10's.
- BAT on CIFAR-100 and Imagenette: values could not be read; the script is CIFAR-10's.
- FAAL on CIFAR-100: checkpoints, but no script; on TRADES and MART: its commands train the one on SAT only.
- CFA with a WRN: the file of its network is not released. CFA on FAT is no method here.
- DAFA on STL-10: its images are resized to 64x64, ours are 96x96.
- HAM on CIFAR-100: which of the confident images it keeps is decided in a module that is not released.
- HAM on Imagenette: its images are resized to 32x32. HAM as in the paper: the weights could not be read.
- Tiny-ImageNet and Imagenette: no recipe of any method is known.
"""

from __future__ import annotations

from collections.abc import Callable

from fairbench.training.recipe import Recipe
from fairbench.training.recipes.adversarial import (
    bat_cifar10,
    cfa_cifar10,
    cfa_sat_cifar10,
    dafa_cifar10,
    dafa_cifar100,
    faal_awp_cifar10,
    faal_cifar10,
    frl_cifar10,
    frl_reweight_cifar10,
    ham_cifar10,
    ham_svhn,
    mart_cifar10,
    mart_wrn_cifar10,
    sat_awp_cifar10,
    sat_awp_svhn,
    trades_awp_cifar10,
    trades_awp_cifar100,
    trades_cifar10,
    wat_cifar10,
    wat_cifar100,
)
from fairbench.training.recipes.distillation import (
    absld_cifar10,
    adaad_cifar10,
    adaad_cifar100,
    ard_cifar10,
    ard_cifar100,
    fair_ard_cifar10,
    fair_iad_cifar10,
    fair_mtard_cifar10,
    fair_rslad_cifar10,
    iad_cifar10,
    iad_cifar100,
    iad_ii_cifar10,
    iad_ii_cifar100,
    mtard_cifar10,
    mtard_cifar100,
    rslad_cifar10,
    rslad_cifar100,
)

__all__ = [
    "PAPER",
    "absld_cifar10",
    "adaad_cifar10",
    "adaad_cifar100",
    "ard_cifar10",
    "ard_cifar100",
    "bat_cifar10",
    "cfa_cifar10",
    "cfa_sat_cifar10",
    "dafa_cifar10",
    "dafa_cifar100",
    "faal_awp_cifar10",
    "faal_cifar10",
    "fair_ard_cifar10",
    "fair_iad_cifar10",
    "fair_mtard_cifar10",
    "fair_rslad_cifar10",
    "frl_cifar10",
    "frl_reweight_cifar10",
    "ham_cifar10",
    "ham_svhn",
    "iad_cifar10",
    "iad_cifar100",
    "iad_ii_cifar10",
    "iad_ii_cifar100",
    "mart_cifar10",
    "mart_wrn_cifar10",
    "mtard_cifar10",
    "mtard_cifar100",
    "rslad_cifar10",
    "rslad_cifar100",
    "sat_awp_cifar10",
    "sat_awp_svhn",
    "trades_awp_cifar10",
    "trades_awp_cifar100",
    "trades_cifar10",
    "wat_cifar10",
    "wat_cifar100",
]

#: (method, data set, what else is asked for in the command line's words; "": nothing) -> its recipe.
PAPER: dict[tuple[str, str, str], Callable[[], Recipe]] = {
    ("sat", "cifar10", "--awp GAMMA"): sat_awp_cifar10,
    ("sat", "svhn", "--awp GAMMA"): sat_awp_svhn,
    ("trades", "cifar10", ""): trades_cifar10,
    ("trades", "cifar10", "--awp GAMMA"): trades_awp_cifar10,
    ("trades", "cifar100", "--awp GAMMA"): trades_awp_cifar100,
    ("mart", "cifar10", ""): mart_cifar10,
    ("mart", "cifar10", "--model wrn-34-10"): mart_wrn_cifar10,
    ("ard", "cifar10", ""): ard_cifar10,
    ("ard", "cifar100", ""): ard_cifar100,
    ("iad", "cifar10", ""): iad_cifar10,
    ("iad", "cifar100", ""): iad_cifar100,
    ("iad", "cifar10", "-p variant=II"): iad_ii_cifar10,
    ("iad", "cifar100", "-p variant=II"): iad_ii_cifar100,
    ("iad", "cifar10", "--reweight fair-ard"): fair_iad_cifar10,
    ("adaad", "cifar10", ""): adaad_cifar10,
    ("adaad", "cifar100", ""): adaad_cifar100,
    ("rslad", "cifar10", ""): rslad_cifar10,
    ("rslad", "cifar100", ""): rslad_cifar100,
    ("rslad", "cifar10", "--reweight fair-ard"): fair_rslad_cifar10,
    ("mtard", "cifar10", ""): mtard_cifar10,
    ("mtard", "cifar100", ""): mtard_cifar100,
    ("mtard", "cifar10", "--reweight fair-ard"): fair_mtard_cifar10,
    ("frl", "cifar10", ""): frl_cifar10,
    ("frl", "cifar10", "-p variant=reweight"): frl_reweight_cifar10,
    ("bat", "cifar10", ""): bat_cifar10,
    ("cfa", "cifar10", ""): cfa_cifar10,
    ("cfa", "cifar10", "-p variant=sat"): cfa_sat_cifar10,
    ("wat", "cifar10", ""): wat_cifar10,
    ("wat", "cifar100", ""): wat_cifar100,
    ("fair-ard", "cifar10", ""): fair_ard_cifar10,
    ("dafa", "cifar10", ""): dafa_cifar10,
    ("dafa", "cifar100", ""): dafa_cifar100,
    ("faal", "cifar10", ""): faal_cifar10,
    ("faal", "cifar10", "--awp GAMMA"): faal_awp_cifar10,
    ("ham", "cifar10", ""): ham_cifar10,
    ("ham", "svhn", ""): ham_svhn,
    ("absld", "cifar10", ""): absld_cifar10,
}

#: (method, what else is asked for): published trainings whose values are not known on any data set. They are refused,
#: where another composition would be trained as its method was.
UNKNOWN: frozenset[tuple[str, str]] = frozenset(
    {
        ("mart", "--awp GAMMA"),
        ("trades", "--reweight faal"),
        ("mart", "--reweight faal"),
        ("ham", "-p variant=paper"),
    }
)

"""The recipes of the papers, as named functions: `fairbench.recipes.absld_cifar10()`.

The values are those of the authors' scripts at the commit that each function names, unless it says that the paper's
were read. Where a value is not known, the function does not exist: ABSLD, Fair-ARD, BAT and others published results on
further data sets whose recipes could not be read, no recipe for Tiny-ImageNet is known, and HAM's for Imagenette trains
on images of 32x32.

What is the same everywhere, and differs from the authors': checkpoints are selected on validation images by the
authors' rule (they used test images), all weights take part in weight decay as there, and the validation images are not
trained on. Learning rates fall at the epochs where they fell when the scripts ran.
"""

from __future__ import annotations

from collections.abc import Callable

from fairbench.training.recipe import Recipe


def _distillation_300(source: str, **changes: object) -> Recipe:
    """300 epochs with decays after 215, 260 and 285: RSLAD's recipe, which ABSLD and MTARD share."""
    values: dict[str, object] = {
        "epochs": 300, "batch_size": 128, "lr": 0.1, "weight_decay": 2e-4,
        "schedule": ((215 / 300, 0.1), (260 / 300, 0.01), (285 / 300, 0.001)),
        "augment": "crop-flip", "model": "resnet18", "eps": "8/255", "validation_attack": "pgd20(step_size=0.003)",
    }  # fmt: skip
    return Recipe("paper", source=source, **{**values, **changes})  # type: ignore[arg-type]


def _ard_200(source: str, **changes: object) -> Recipe:
    """200 epochs of the ARD family.

    Its scripts name the milestones 100 and 150, but both set the learning rate to 0.01, so that only the first one
    matters. They attack in train mode, from a random start that may leave [0, 1].
    """
    values: dict[str, object] = {
        "epochs": 200, "batch_size": 128, "lr": 0.1, "weight_decay": 2e-4, "schedule": ((100 / 200, 0.1),),
        "augment": "crop-flip", "model": "resnet18", "eps": "8/255",
        "hyper": {"attack_mode": "train", "clamp_start": False},
    }  # fmt: skip
    return Recipe("paper", source=source, **{**values, **changes})  # type: ignore[arg-type]


def _trades_like(source: str, epochs: int, **changes: object) -> Recipe:
    """TRADES's schedule: tenths from the epochs 75, 90 and 100 on, counted from 1; a radius of 0.031."""
    decays = tuple((start / epochs, factor) for start, factor in ((74, 0.1), (89, 0.01), (99, 0.001)) if start < epochs)
    values: dict[str, object] = {
        "epochs": epochs, "batch_size": 128, "lr": 0.1, "weight_decay": 2e-4, "schedule": decays,
        "augment": "crop-flip", "model": "resnet18", "eps": "0.031",
    }  # fmt: skip
    return Recipe("paper", source=source, **{**values, **changes})  # type: ignore[arg-type]


def absld_cifar10() -> Recipe:
    """Return ABSLD's recipe: resnet18_absld_cifar10.py of zhaoshiji123/ABSLD @ 7407c3ad22.

    The teacher there is a WRN-34-10 trained with TRADES at 0.031. Selected by average plus worst class under PGD-20.
    """
    return _distillation_300(
        "zhaoshiji123/ABSLD @ 7407c3ad22, resnet18_absld_cifar10.py; teacher there: WRN-34-10 trained with TRADES",
        select="best-sum", hyper={"scale": 1.0},
    )  # fmt: skip


def rslad_cifar10() -> Recipe:
    """Return RSLAD's recipe: resnet18_rslad_cifar10.py of zibojia/RSLAD @ c40e04f6c4; teacher as ABSLD's."""
    return _distillation_300(
        "zibojia/RSLAD @ c40e04f6c4, resnet18_rslad_cifar10.py; teacher there: WRN-34-10 trained with TRADES",
        select="best-average", hyper={"scale": 1.0},
    )  # fmt: skip


def rslad_cifar100() -> Recipe:
    """Return RSLAD's recipe: resnet18_rslad_cifar100.py of zibojia/RSLAD @ c40e04f6c4, with its loss times 10.

    The teacher there is Gowal et al.'s WRN-70-16 without extra data, in half precision.
    """
    return _distillation_300(
        "zibojia/RSLAD @ c40e04f6c4, resnet18_rslad_cifar100.py; teacher there: WRN-70-16 of Gowal et al. (2020)",
        select="best-average", hyper={"scale": 10.0},
    )  # fmt: skip


def mtard_cifar10() -> Recipe:
    """Return MTARD's recipe: mtard_resnet18_cifar10.py of zhaoshiji123/MTARD @ 6480a1b40d; the last weights."""
    return _distillation_300("zhaoshiji123/MTARD @ 6480a1b40d, mtard_resnet18_cifar10.py", hyper={"scale": 1.0})


def mtard_cifar100() -> Recipe:
    """Return MTARD's recipe: mtard_resnet18_cifar100.py of zhaoshiji123/MTARD @ 6480a1b40d, losses times 10."""
    return _distillation_300("zhaoshiji123/MTARD @ 6480a1b40d, mtard_resnet18_cifar100.py", hyper={"scale": 10.0})


def ard_cifar10() -> Recipe:
    """Return ARD's recipe: main.py of goldblum/AdversariallyRobustDistillation @ 779ade36d6, student MobileNetV2.

    The teacher there is a WRN-34-10 trained with TRADES.
    """
    source = "goldblum/AdversariallyRobustDistillation @ 779ade36d6, main.py; teacher there: WRN-34-10 (TRADES)"
    return _ard_200(source, model="mobilenetv2")


def ard_cifar100() -> Recipe:
    """Return ARD's recipe for CIFAR-100: as `ard_cifar10`, with batches of 256."""
    source = "goldblum/AdversariallyRobustDistillation @ 779ade36d6, main.py --dataset CIFAR100"
    return _ard_200(source, model="mobilenetv2", batch_size=256)


def iad_cifar10() -> Recipe:
    """Return IAD-I's recipe: IAD-I.py of ZFancy/IAD @ a8091a8c75, selected by PGD-10; teacher a ResNet-18 of SAT."""
    source = "ZFancy/IAD @ a8091a8c75, IAD-I.py; teacher there: ResNet-18 trained with SAT"
    return _ard_200(source, select="best-average", validation_attack="pgd10(step_size=2/255)")


def iad_cifar100() -> Recipe:
    """Return IAD-I's recipe for CIFAR-100: as `iad_cifar10`."""
    source = "ZFancy/IAD @ a8091a8c75, IAD-I.py --dataset CIFAR100"
    return _ard_200(source, select="best-average", validation_attack="pgd10(step_size=2/255)")


def fair_ard_cifar10() -> Recipe:
    """Return Fair-ARD's recipe: Fair-ARD.py of NISP-official/Fair-ARD @ 910c8cd17b; ARD's with Nesterov momentum."""
    return _ard_200("NISP-official/Fair-ARD @ 910c8cd17b, Fair-ARD.py", nesterov=True)


def trades_cifar10() -> Recipe:
    """Return TRADES's recipe: train_trades_cifar10.py of yaodongyu/TRADES @ 6e8e11b7c2, a WRN-34-10 for 76 epochs."""
    return _trades_like("yaodongyu/TRADES @ 6e8e11b7c2, train_trades_cifar10.py", 76, model="wrn-34-10")


def mart_cifar10() -> Recipe:
    """Return MART's recipe for ResNet-18: train_resnet.py of YisenWang/MART @ 2d83e17b38."""
    return _trades_like("YisenWang/MART @ 2d83e17b38, train_resnet.py", 120, lr=0.01, weight_decay=3.5e-3)


def bat_cifar10() -> Recipe:
    """Return BAT's recipe: train.py @ 9bcee67aed of its authors' repository, 200 epochs, constant from epoch 100 on."""
    return _trades_like("silvercherry/Improving-Robust-Fairness-via-Balance-Adversarial-Training @ 9bcee67aed", 200)


def wat_cifar10() -> Recipe:
    """Return WAT's recipe: worst_class_adversarial_train.py of boqili/WAT @ 62d1184f9b.

    Validation images are fairbench's, 100 per class; there 300.
    """
    return _trades_like("boqili/WAT @ 62d1184f9b, worst_class_adversarial_train.py", 100)


def wat_cifar100() -> Recipe:
    """Return WAT's recipe for CIFAR-100: as `wat_cifar10`."""
    return _trades_like("boqili/WAT @ 62d1184f9b, worst_class_adversarial_train.py --dataset cifar100", 100)


def dafa_cifar10() -> Recipe:
    """Return DAFA's recipe: arguments.py and train.py of rucy74/DAFA @ c60ba8352d, with --model resnet.

    Tenths for the last eleven and the last six of 110 epochs; Nesterov momentum, whose flag is inverted there.
    """
    return Recipe(
        "paper", epochs=110, batch_size=128, lr=0.1, schedule=((99 / 110, 0.1), (104 / 110, 0.01)), nesterov=True,
        augment="crop-flip", model="resnet18", eps="0.031", source="rucy74/DAFA @ c60ba8352d",
    )  # fmt: skip


def dafa_cifar100() -> Recipe:
    """Return DAFA's recipe for CIFAR-100: as `dafa_cifar10`, with a strength of 1.5."""
    return dafa_cifar10().change(hyper={"strength": 1.5})


def cfa_cifar10() -> Recipe:
    """Return CFA's recipe on TRADES: the paper's values, and train.py of PKU-ML/CFA @ 071f3334a5 for the rest.

    The average of weights with a decay of .85 per epoch passes CFA's gate. Crops are padded by reflection.
    """
    return Recipe(
        "paper", epochs=200, batch_size=128, lr=0.1, schedule=((100 / 200, 0.1), (150 / 200, 0.01)),
        augment="crop-flip-reflect", model="preactresnet18", normalize="cifar10", eps="8/255",
        average=("epoch", 0.85), select="best-sum", validation_attack="pgd10",
        source="CFA's paper (arXiv 2303.14460), and PKU-ML/CFA @ 071f3334a5, train.py",
    )  # fmt: skip


def frl_cifar10() -> Recipe:
    """Return FRL's recipe: frlrmrw.py of hannxu123/fair_robust @ a80547def8, 40 epochs from a robust network."""
    return Recipe(
        "paper", epochs=40, batch_size=128, lr=0.001, augment="crop-flip", model="preactresnet18-plain", eps="8/255",
        fine_tune=True, source="hannxu123/fair_robust @ a80547def8, frlrmrw.py",
    )  # fmt: skip


def faal_cifar10() -> Recipe:
    """Return FAAL's recipe on SAT: run_prn.py and ft_prn.py of TrustAI/FAAL @ b20ee9dbe6.

    Two epochs from a robust network. The worst class under the margin attack selects.
    """
    return Recipe(
        "paper", epochs=2, batch_size=128, lr=0.01, schedule=((1 / 2, 0.1),), augment="crop-flip",
        model="preactresnet18", normalize="cifar10", eps="8/255", select="best-worst-class", validation_attack="cw10",
        fine_tune=True, source="TrustAI/FAAL @ b20ee9dbe6, run_prn.py",
    )  # fmt: skip


def ham_cifar10() -> Recipe:
    """Return HAM's recipe: 515_6_wrong_early3_epo50.sh of yyl-github-1896/HAM @ e3ee5ffe52, variant "released".

    The paper's weights could not be read. There the first 48 epochs of SAT come from a checkpoint of the same network.
    """
    return Recipe(
        "paper", epochs=120, batch_size=128, lr=0.1, weight_decay=2e-4,
        schedule=((59 / 120, 0.1), (89 / 120, 0.01), (109 / 120, 0.005)), augment="crop-flip",
        model="preactresnet18-plain", normalize="cifar10", eps="0.031", select="best-average",
        validation_attack="pgd20", hyper={"variant": "released", "drop_step": 3, "begin": 49 / 120},
        source="yyl-github-1896/HAM @ e3ee5ffe52, 515_6_wrong_early3_epo50.sh",
    )  # fmt: skip


def ham_svhn() -> Recipe:
    """Return HAM's recipe for SVHN: 718_7_svhn_wrong_early5_epo50.sh @ e3ee5ffe52.

    With CIFAR-10's normalisation and flips, as there.
    """
    return ham_cifar10().change(
        lr=0.01,
        hyper={"variant": "released", "drop_step": 5, "begin": 49 / 120},
        source="yyl-github-1896/HAM @ e3ee5ffe52, 718_7_svhn_wrong_early5_epo50.sh",
    )


#: (method, data set) -> its recipe.
PAPER: dict[tuple[str, str], Callable[[], Recipe]] = {
    ("trades", "cifar10"): trades_cifar10,
    ("mart", "cifar10"): mart_cifar10,
    ("ard", "cifar10"): ard_cifar10,
    ("ard", "cifar100"): ard_cifar100,
    ("iad", "cifar10"): iad_cifar10,
    ("iad", "cifar100"): iad_cifar100,
    ("rslad", "cifar10"): rslad_cifar10,
    ("rslad", "cifar100"): rslad_cifar100,
    ("mtard", "cifar10"): mtard_cifar10,
    ("mtard", "cifar100"): mtard_cifar100,
    ("frl", "cifar10"): frl_cifar10,
    ("bat", "cifar10"): bat_cifar10,
    ("cfa", "cifar10"): cfa_cifar10,
    ("wat", "cifar10"): wat_cifar10,
    ("wat", "cifar100"): wat_cifar100,
    ("fair-ard", "cifar10"): fair_ard_cifar10,
    ("dafa", "cifar10"): dafa_cifar10,
    ("dafa", "cifar100"): dafa_cifar100,
    ("faal", "cifar10"): faal_cifar10,
    ("ham", "cifar10"): ham_cifar10,
    ("ham", "svhn"): ham_svhn,
    ("absld", "cifar10"): absld_cifar10,
}

"""The authors' recipes of methods that distil a teacher; `fairbench.training.recipes` says what holds for all."""

from __future__ import annotations

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


def iad_ii_cifar10() -> Recipe:
    """Return IAD-II's recipe: IAD-II.py of ZFancy/IAD @ a8091a8c75, for `-p variant=II`; as `iad_cifar10`.

    The teachers there are ResNet-18s of SAT and of natural training.
    """
    source = (
        "ZFancy/IAD @ a8091a8c75, IAD-II.py; teachers there: ResNet-18 trained with SAT, ResNet-18 trained naturally"
    )
    return iad_cifar10().change(hyper={**iad_cifar10().hyper, "variant": "II"}, source=source)


def iad_ii_cifar100() -> Recipe:
    """Return IAD-II's recipe for CIFAR-100: as `iad_ii_cifar10`."""
    return iad_ii_cifar10().change(source="ZFancy/IAD @ a8091a8c75, IAD-II.py --dataset CIFAR100")


def adaad_cifar10() -> Recipe:
    """Return AdaAD's recipe: README.md and main.py of boyellow/AdaAD @ 9e5c6e5ff7, selected by PGD-10.

    The radius of 8/255 and step of 2/255 are those of the README's first command; the script's own defaults, and the
    README's training "with a larger search radius", are 16/255 and 4/255, still selected at 8/255. The teacher there is
    Chen et al.'s WRN-34-20 (LTD, 2021).
    """
    return Recipe(
        "paper", epochs=200, batch_size=128, lr=0.1, schedule=((100 / 200, 0.1), (150 / 200, 0.01)),
        augment="crop-flip", model="resnet18", eps="8/255", select="best-average",
        validation_attack="pgd10(step_size=2/255)", hyper={"scale": 1.0},
        source="boyellow/AdaAD @ 9e5c6e5ff7, README.md, main.py --method AdaAD; teacher there: WRN-34-20 (LTD)",
    )  # fmt: skip


def adaad_cifar100() -> Recipe:
    """Return AdaAD's recipe for CIFAR-100: as `adaad_cifar10`; its loss there is not divided by the 100 classes.

    The README has no command for it: radius and step are those of CIFAR-10's. The teacher there is Chen et al.'s
    WRN-34-10 (LTD, 2021).
    """
    return adaad_cifar10().change(
        hyper={"scale": 100.0},
        source="boyellow/AdaAD @ 9e5c6e5ff7, main.py --dataset CIFAR100 --method AdaAD; teacher there: WRN-34-10 (LTD)",
    )


def fair_ard_cifar10() -> Recipe:
    """Return Fair-ARD's recipe: Fair-ARD.py of NISP-official/Fair-ARD @ 910c8cd17b; ARD's with Nesterov momentum."""
    return _ard_200("NISP-official/Fair-ARD @ 910c8cd17b, Fair-ARD.py", nesterov=True)


def fair_iad_cifar10() -> Recipe:
    """Return Fair-IAD's recipe, for `--method iad --reweight fair-ard`: Fair-IAD.py of NISP-official/Fair-ARD.

    At commit 910c8cd17b; IAD-I's with Nesterov momentum and the last weights. The teacher there is a WRN-34-10.
    """
    source = "NISP-official/Fair-ARD @ 910c8cd17b, Fair-IAD.py; teacher there: WRN-34-10"
    return _ard_200(source, nesterov=True)


def fair_rslad_cifar10() -> Recipe:
    """Return Fair-RSLAD's recipe, for `--method rslad --reweight fair-ard`: Fair-RSLAD.py of NISP-official/Fair-ARD.

    At commit 910c8cd17b; RSLAD's with Nesterov momentum and the last weights. The teacher there is a WRN-34-10.
    """
    source = "NISP-official/Fair-ARD @ 910c8cd17b, Fair-RSLAD.py; teacher there: WRN-34-10"
    return _distillation_300(source, nesterov=True, hyper={"scale": 1.0})


def fair_mtard_cifar10() -> Recipe:
    """Return Fair-MTARD's recipe, for `--method mtard --reweight fair-ard`: Fair-MTARD.py of NISP-official/Fair-ARD.

    At commit 910c8cd17b; MTARD's with Nesterov momentum. The script gives the robust teacher's label of x_adv to the
    natural image and leaves its natural teacher, a ResNet-56, unused; the method here asks the natural teacher.
    """
    source = "NISP-official/Fair-ARD @ 910c8cd17b, Fair-MTARD.py; teachers there: WRN-34-10, ResNet-56"
    return _distillation_300(source, nesterov=True, hyper={"scale": 1.0})

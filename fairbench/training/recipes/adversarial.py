"""The authors' recipes of methods without a teacher; `fairbench.training.recipes` says what holds for all."""

from __future__ import annotations

from fairbench.training.recipe import Recipe


def _trades_like(source: str, epochs: int, **changes: object) -> Recipe:
    """TRADES's schedule: tenths from the epochs 75, 90 and 100 on, counted from 1; a radius of 0.031."""
    decays = tuple((start / epochs, factor) for start, factor in ((74, 0.1), (89, 0.01), (99, 0.001)) if start < epochs)
    values: dict[str, object] = {
        "epochs": epochs, "batch_size": 128, "lr": 0.1, "weight_decay": 2e-4, "schedule": decays,
        "augment": "crop-flip", "model": "resnet18", "eps": "0.031",
    }  # fmt: skip
    return Recipe("paper", source=source, **{**values, **changes})  # type: ignore[arg-type]


def sat_awp_cifar10() -> Recipe:
    """Return AT-AWP's recipe, for `--method sat --awp 0.01`: AT_AWP/train_cifar10.py of csdongxian/AWP @ a7acf5d842.

    The attack is in train mode there, but for the first batch of each later epoch. Selected by PGD-20. Each step there
    runs the natural image through the network once more, for the log, which moves batch norm's statistics; not here.
    """
    return Recipe(
        "paper", epochs=200, batch_size=128, lr=0.1, schedule=((100 / 200, 0.1), (150 / 200, 0.01)),
        augment="crop-flip-reflect", model="preactresnet18", normalize="cifar10", eps="8/255", awp=0.01,
        select="best-average", validation_attack="pgd20", hyper={"attack_mode": "train"},
        source="csdongxian/AWP @ a7acf5d842, AT_AWP/train_cifar10.py",
    )  # fmt: skip


def sat_awp_svhn() -> Recipe:
    """Return AT-AWP's recipe for SVHN: AT_AWP/train_svhn.py @ a7acf5d842 of csdongxian/AWP.

    As `sat_awp_cifar10`, with every attack in train mode, a tenth of the learning rate, steps of 1/255, AWP from the
    sixth epoch on, and images that are normalised by .5 and not augmented.
    """
    return sat_awp_cifar10().change(
        lr=0.01, augment="none", normalize="half", awp_start=5 / 200, validation_attack="pgd20(step_size=1/255)",
        hyper={"attack_mode": "train", "step_share": 1 / 8},
        source="csdongxian/AWP @ a7acf5d842, AT_AWP/train_svhn.py",
    )  # fmt: skip


def trades_cifar10() -> Recipe:
    """Return TRADES's recipe: train_trades_cifar10.py of yaodongyu/TRADES @ 6e8e11b7c2, a WRN-34-10 for 76 epochs."""
    return _trades_like("yaodongyu/TRADES @ 6e8e11b7c2, train_trades_cifar10.py", 76, model="wrn-34-10")


def trades_awp_cifar10() -> Recipe:
    """Return TRADES-AWP's recipe, for `--method trades --awp 0.005`: trades_AWP/train_trades_cifar.py.

    Of csdongxian/AWP @ a7acf5d842: a WRN-34-10, steps of 2/255, AWP from the tenth epoch on, the last weights.
    """
    return Recipe(
        "paper", epochs=200, batch_size=128, lr=0.1, schedule=((99 / 200, 0.1), (149 / 200, 0.01)),
        augment="crop-flip", model="wrn-34-10", eps="8/255", awp=0.005, awp_start=9 / 200, hyper={"step_share": 1 / 4},
        source="csdongxian/AWP @ a7acf5d842, trades_AWP/train_trades_cifar.py",
    )  # fmt: skip


def trades_awp_cifar100() -> Recipe:
    """Return TRADES-AWP's recipe for CIFAR-100: as `trades_awp_cifar10`."""
    source = "csdongxian/AWP @ a7acf5d842, trades_AWP/train_trades_cifar.py --data CIFAR100"
    return trades_awp_cifar10().change(source=source)


def mart_cifar10() -> Recipe:
    """Return MART's recipe for ResNet-18: train_resnet.py of YisenWang/MART @ 2d83e17b38."""
    return _trades_like("YisenWang/MART @ 2d83e17b38, train_resnet.py", 120, lr=0.01, weight_decay=3.5e-3)


def mart_wrn_cifar10() -> Recipe:
    """Return MART's recipe for a WRN-34-10, for `--model wrn-34-10`: train_wideresnet.py @ 2d83e17b38; beta is 6."""
    source = "YisenWang/MART @ 2d83e17b38, train_wideresnet.py"
    return _trades_like(source, 90, weight_decay=7e-4, model="wrn-34-10", hyper={"beta": 6.0})


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


def cfa_sat_cifar10() -> Recipe:
    """Return CFA's recipe on SAT, for `-p variant=sat`: as `cfa_cifar10`, with the attack in train mode as released."""
    return cfa_cifar10().change(
        hyper={"variant": "sat", "attack_mode": "train"},
        source="CFA's paper (arXiv 2303.14460), and PKU-ML/CFA @ 071f3334a5, train.py --mode AT --ccm",
    )


def frl_cifar10() -> Recipe:
    """Return FRL's recipe: frlrmrw.py of hannxu123/fair_robust @ a80547def8, 40 epochs from a robust network."""
    return Recipe(
        "paper", epochs=40, batch_size=128, lr=0.001, augment="crop-flip", model="preactresnet18-plain", eps="8/255",
        fine_tune=True, source="hannxu123/fair_robust @ a80547def8, frlrmrw.py",
    )  # fmt: skip


def frl_reweight_cifar10() -> Recipe:
    """Return FRL's recipe without re-margining, for `-p variant=reweight`: frlrw.py @ a80547def8; as `frl_cifar10`.

    The tolerance of .1 there, instead of .07, is the variant's own.
    """
    return frl_cifar10().change(hyper={"variant": "reweight"}, source="hannxu123/fair_robust @ a80547def8, frlrw.py")


def faal_cifar10() -> Recipe:
    """Return FAAL's recipe on SAT: run_prn.py and ft_prn.py of TrustAI/FAAL @ b20ee9dbe6.

    Two epochs from a robust network. The worst class under the margin attack selects.
    """
    return Recipe(
        "paper", epochs=2, batch_size=128, lr=0.01, schedule=((1 / 2, 0.1),), augment="crop-flip",
        model="preactresnet18", normalize="cifar10", eps="8/255", select="best-worst-class", validation_attack="cw10",
        fine_tune=True, source="TrustAI/FAAL @ b20ee9dbe6, run_prn.py",
    )  # fmt: skip


def faal_awp_cifar10() -> Recipe:
    """Return FAAL's recipe on SAT with AWP, for `--awp 0.005`: ft_prn.py --loss AT-AWP @ b20ee9dbe6; as `faal_cifar10`.

    The weights are moved there where the loss without class weights grows, here where the loss that is minimised does.
    """
    return faal_cifar10().change(awp=0.005, source="TrustAI/FAAL @ b20ee9dbe6, run_prn.py, ft_prn.py --loss AT-AWP")


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

"""The suites of `fairbench bench`: what is trained on which images, and what is compared with what. Data, no code.

Every row of a suite is trained under `--recipe common` (same epochs, steps, schedule, order and selection), with the
same images, network and seeds, and students with the same teachers. Thirty epochs or more, so that methods which act
once per epoch act at all. FAAL, published as two epochs of fine-tuning, has them after 28 of SAT, at a tenth of the
learning rate as there: from scratch its weights on single classes leave a constant network. FRL, published as
fine-tuning, too, runs from scratch like the others. MART's steps are larger than SAT's (its margin term and five
divergences): at the suites' learning rate it ends in a constant network on MNIST, so that it has half of it.

`extra` rows are trained where they are asked for by name: variants of methods, and compositions of ABSLD with the class
rules of others (arXiv 2506.08611 names such combinations; its formulas could not be read).
"""

from __future__ import annotations

from dataclasses import dataclass

from fairbench.methods import METHODS

#: Fewer epochs than this, and the leaderboard says so.
LEAST_EPOCHS = 30


@dataclass(frozen=True)
class Row:
    """One row of the leaderboard.

    Attributes:
        name: of the row and its files.
        method: a name in METHODS.
        base: the row whose difference from it says what the method adds; None: none but the suite's baseline.
        hyper: arguments of `-p`.
        slots: (slot, class rule) pairs that are put on the method.
        options: other arguments of `fairbench train`, for what no recipe decides.
        roles: of its teachers, where they are not the method's.
        start: (method, epochs) of the training that it continues; they count among the suite's epochs.
        lr: the initial learning rate, where it is not the suite's.
        remark: what a reader of the table should know of the row.
    """

    name: str
    method: str
    base: str | None = None
    hyper: tuple[str, ...] = ()
    slots: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] = ()
    roles: tuple[str, ...] | None = None
    start: tuple[str, int] | None = None
    lr: str | None = None
    remark: str = ""

    @property
    def teachers(self) -> tuple[str, ...]:
        """The roles of its teachers."""
        return METHODS[self.method].roles if self.roles is None else self.roles


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    Attributes:
        name: as on the command line.
        description: one sentence.
        dataset: as `fairbench train` takes it; "{data}" is the folder of data sets.
        eps: the Linf radius.
        model: the students' architecture.
        teacher_model: the teachers' architecture.
        teachers: (role, method that its teacher is trained with), with seed 0 on the students' images.
        samples_per_class: training images of each class.
        epochs: of every training.
        attacks: of every evaluation.
        ranked_by: the attack whose worst class ranks, and of which rho is.
        baseline: the row that all others are compared with.
        rows: what is trained.
        extra: what is trained only where it is named.
        augment: a name in AUGMENTATIONS.
        lr: the initial learning rate.
        test_per_class: test images of each class; None: all.
        seeds: how many, from 0 on.
    """

    name: str
    description: str
    dataset: str
    eps: str
    model: str
    teacher_model: str
    samples_per_class: int
    epochs: int
    attacks: tuple[str, ...]
    ranked_by: str
    baseline: str
    rows: tuple[Row, ...]
    extra: tuple[Row, ...] = ()
    teachers: tuple[tuple[str, str], ...] = (("robust", "trades"), ("natural", "natural"))
    augment: str = "none"
    lr: str = "0.1"
    test_per_class: int | None = None
    seeds: int = 3


_NATURAL, _SAT, _TRADES = Row("natural", "natural"), Row("sat", "sat"), Row("trades", "trades")
_SLOW = "the published loss is small: its steps are shorter than the others'"
_ARD, _RSLAD = Row("ard", "ard", remark=_SLOW), Row("rslad", "rslad")
_CFA = Row("cfa", "cfa", "trades", remark="without its average of weights")
_DAFA = Row("dafa", "dafa", "trades")
_FAIR_ARD, _HAM = Row("fair-ard", "fair-ard", "ard", remark=_SLOW), Row("ham", "ham", "sat")
_FRL = Row("frl", "frl", "trades", remark="from scratch, published as fine-tuning; beta 1.5, not its base's 6")
_ABSLD = Row("absld", "absld", "rslad")
_MART = Row("mart", "mart", lr="0.05")
_FAAL = Row("faal", "faal", "sat", start=("sat", 28), lr="0.01")
_CONTROL = Row("class-reweighted-kd", "class-reweighted-kd", "rslad")

_EVERY = (
    _NATURAL, _SAT, _TRADES, _MART, _ARD, Row("iad", "iad"), Row("adaad", "adaad"), _RSLAD,
    Row("mtard", "mtard"), _FRL, Row("bat", "bat", "trades"), _CFA, Row("wat", "wat", "trades"),
    _FAIR_ARD, _DAFA, _FAAL, _HAM, _ABSLD, _CONTROL,
)  # fmt: skip

_EXTRA = (
    Row("iad-2", "iad", "iad", ("variant=II",), roles=("robust", "natural")),
    Row("frl-reweight", "frl", "trades", ("variant=reweight",)),
    Row("cfa-sat", "cfa", "sat", ("variant=sat",), remark="without its average of weights"),
    Row("cfa-average", "cfa", "trades", options=("--average", "epoch:0.85")),
    Row("fair-rslad", "rslad", "rslad", slots=(("reweight", "fair-ard"),)),
    Row("ham-released", "ham", "sat", ("variant=released",)),
    Row("ham-uniform", "ham", "sat", ("weighting=uniform",)),
    Row("absld-frl", "absld", "absld", slots=(("reweight", "frl"), ("remargin", "frl"))),
    Row("absld-wat", "absld", "absld", slots=(("reweight", "wat"),)),
    Row("absld-fair-ard", "absld", "absld", slots=(("reweight", "fair-ard"),)),
    Row("absld-dafa", "absld", "absld", slots=(("reweight", "dafa"), ("remargin", "dafa"))),
    Row("absld-cfa", "absld", "absld", slots=(("remargin", "cfa"),)),
)

SUITES: dict[str, Suite] = {
    "digits-small": Suite(
        name="digits-small",
        description="every method on the 8x8 digits inside fairbench: minutes, to see that everything runs",
        dataset="digits", eps="0.1", model="small-cnn", teacher_model="wide-cnn", samples_per_class=75, epochs=30,
        attacks=("fgsm", "pgd20"), ranked_by="pgd20", baseline="sat", rows=_EVERY, extra=_EXTRA,
    ),
    "mnist-small": Suite(
        name="mnist-small",
        description="every method on 6,000 MNIST images at 0.3 with a small network: hours on two cores",
        dataset="mnist", eps="0.3", model="small-cnn", teacher_model="wide-cnn", samples_per_class=600, epochs=30,
        attacks=("fgsm", "pgd20", "cw30"), ranked_by="pgd20", baseline="sat", rows=_EVERY, extra=_EXTRA,
    ),
    "cifar10-small": Suite(
        name="cifar10-small",
        description="eleven methods on 10,000 real CIFAR-10 images at 8/255 with a small network: hours on two cores",
        dataset="npz:{data}/cifar10", eps="8/255", model="small-cnn", teacher_model="wide-cnn", samples_per_class=1000,
        epochs=30, attacks=("fgsm", "pgd20", "cw30"), ranked_by="pgd20", baseline="sat",
        rows=(_NATURAL, _SAT, _TRADES, _ARD, _RSLAD, _CFA, _FAIR_ARD, _DAFA, _HAM, _ABSLD, _CONTROL),
        extra=tuple(row for row in _EXTRA if "natural" not in row.teachers),
        teachers=(("robust", "trades"),), augment="crop-flip", lr="0.05",
    ),
}  # fmt: skip

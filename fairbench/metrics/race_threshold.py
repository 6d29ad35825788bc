"""Whether the worst class of the full run is below an accuracy, from full verdicts on as few samples as decide it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fairbench.errors import BadInput
from fairbench.metrics.race_draws import FIRST, ROUND, Draws, error_of, want
from fairbench.metrics.race_evidence import PRIOR


class Threshold:
    """The question whether the worst class of the full run is below an accuracy.

    "Yes" is wrong with probability at most 1 - confidence where the truth is no, and "no" where it is yes. For yes the
    evidence of all classes is averaged; for no every class must show on its own that it is not below.

    Args:
        survivors: (K,) samples that the cheap attack left unbroken.
        count: (K,) samples.
        below: the accuracy, a fraction.
        confidence: of either answer.
        prior: of `race_evidence`.
    """

    def __init__(
        self,
        survivors: npt.ArrayLike,
        count: npt.ArrayLike,
        *,
        below: float,
        confidence: float = 0.95,
        prior: tuple[float, float] = PRIOR,
    ) -> None:
        if not 0 < below <= 1:
            raise BadInput(f"the accuracy that the worst class is compared with must be in (0, 1], but is {below!r}.")
        self.draws = Draws(survivors, count, prior=prior)
        self.error, self.below = error_of(confidence), below
        present = self.draws.count > 0
        # The least robust count that is not below; a count of exactly below * N is not.
        self._enough = np.ceil(below * self.draws.count - 1e-9).astype(np.int64)
        self.undecided = present.copy()
        self._against, self._for = np.zeros(self.draws.num_classes), np.zeros(self.draws.num_classes)
        self._weight = np.where(present, 1.0 / present.sum(), 0.0)
        for label in np.flatnonzero(present):
            self._judge(int(label))

    def verdict(self) -> bool | None:
        """Return True where the worst class is below, False where it is not, None while neither is shown."""
        with np.errstate(over="ignore"):
            if float(np.sum(self._weight * np.exp(self._against))) >= 1 / self.error:
                return True
        return None if self.undecided.any() else False

    @property
    def certain(self) -> bool:
        """Whether the verdicts that are known leave no other answer, whatever the order of drawing was."""
        if self.verdict():
            return bool(np.isposinf(self._against).any())
        return self.verdict() is False and bool(np.isposinf(self._for[self.draws.count > 0]).all())

    def next_draws(self, size: int = ROUND) -> dict[int, int]:
        """Return {class: samples that need verdicts}, at most `size` together; empty when the answer stands."""
        wanted = dict[int, int]()
        if self.verdict() is None:
            open_ = np.flatnonzero(self.undecided)
            order = open_[np.argsort(self.draws.estimate()[open_], kind="stable")]
            # The lowest class may say yes alone; for no, all others have to be heard.
            want(wanted, int(order[0]), max(FIRST, size // 2), self.draws, size)
            for label in order[1:]:
                want(wanted, int(label), FIRST, self.draws, size)
        return wanted

    def observe(self, label: int, broken: npt.ArrayLike) -> None:
        """Take the full attack's verdicts on samples of class `label`: (n,), True where it was broken.

        Raises:
            BadInput: more verdicts than there are survivors left.
        """
        self.draws.observe(label, broken)
        self._judge(label)

    def _judge(self, label: int) -> None:
        survivors, enough = int(self.draws.survivors[label]), int(self._enough[label])
        # Against "not below": the best case among counts of at least `enough`; none is possible where S is smaller.
        self._against[label] = self.draws.least_ratio(label, enough, survivors)
        self._for[label] = self.draws.least_ratio(label, 0, min(enough - 1, survivors))
        if self._for[label] >= -np.log(self.error):
            self.undecided[label] = False

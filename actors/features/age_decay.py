"""Age decay: how much less an older post counts (Earlybird's boost)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
_MAX_EXPONENT = 50.0


@dataclass(frozen=True)
class AgeDecay:
    """m(age) = base + (1 − base)/(1 + e^{slope·(age − half-life)}), with the published values.

    A new post's factor is not 1 but 0.90 with these, and an old one's nears the base.
    """

    slope_per_minute: float = 0.003
    half_life_minutes: float = 360.0
    base: float = 0.6

    def factors(self, minutes: npt.NDArray[np.floating]) -> Floats:
        """The factor for each age in minutes (n,)."""
        exponents = self.slope_per_minute * (minutes - self.half_life_minutes)
        grown = np.exp(np.minimum(exponents, _MAX_EXPONENT))
        decayed: Floats = (self.base + (1 - self.base) / (1 + grown)).astype(np.float32)
        return decayed

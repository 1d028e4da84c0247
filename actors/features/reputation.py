"""Tweepcred's reputations as serving reads them: how much weight a user's word has."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.ids import Ids

TWEEPCRED = "tweepcred"
TWEEPCRED_SCHEMA = 1
REPUTATIONS = "reputations.arrow"
"""The artifact's table, by user_id ascending: user_id, reputation (0–100), pagerank."""


class Reputations:
    """Reputations over a table in an artifact's form, whose columns stay where they are mapped.

    Raises `ValueError` where the ids do not strictly ascend, or a reputation is not in 0–100.
    """

    def __init__(self, table: pa.Table) -> None:
        self._user_ids: Ids = table.column("user_id").to_numpy()
        self._reputations: npt.NDArray[np.float32] = table.column("reputation").to_numpy()
        if (self._user_ids[1:] <= self._user_ids[:-1]).any():
            raise ValueError("reputations: the ids of users do not strictly ascend")
        if len(table) and not (self._reputations.min() >= 0 and self._reputations.max() <= 100):
            raise ValueError("reputations are to be numbers from 0 to 100")

    def __len__(self) -> int:
        return len(self._user_ids)

    def of(self, user_ids: Ids) -> npt.NDArray[np.float32]:
        """The reputation of each user, float32 (n,); 0 where there is none."""
        found = np.zeros(len(user_ids), np.float32)
        if len(self._user_ids):
            at = np.minimum(np.searchsorted(self._user_ids, user_ids), len(self._user_ids) - 1)
            known = self._user_ids[at] == user_ids
            found[known] = self._reputations[at[known]]
        return found

"""Accounts of adult content that the viewer visits: they seed no candidates."""

import numpy as np

from actors.graph_questions import AskNsfwAccounts
from actors.router import shards_of
from timeline.candidates import Mask
from timeline.findings import Finding
from timeline.query import Query
from timeline.sources.source_keys import SourceKeys


def not_to_seed(query: Query, keys: SourceKeys) -> Finding[Mask]:
    """Which keys (n,) are visits of accounts of adult content; one wave, of those accounts' shards.

    An account whose shard does not answer counts as one.
    """
    visits = keys.visits
    account_ids = np.unique(keys.target_ids[visits])
    if not len(account_ids):
        return visits
    homes = shards_of(account_ids, query.router.n_shards)
    answers = yield {
        shard: [AskNsfwAccounts(account_ids[homes == shard])] for shard in np.unique(homes).tolist()
    }
    clean = [account_ids[homes == shard][~nsfw] for shard, (nsfw,) in answers.items()]
    return visits & ~np.isin(keys.target_ids, np.concatenate([account_ids[:0], *clean]))

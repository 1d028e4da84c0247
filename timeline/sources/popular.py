"""Popular posts: supply for viewers whose own network is silent or unknown."""

from actors.features.reputation import TWEEPCRED
from actors.questions import AskPopular
from timeline.candidates import NONE, Candidates, best_of
from timeline.findings import Finding
from timeline.query import FEW_FOLLOWS, Query


class Popular:
    """Recent posts with many engagements, at most two of an author, from every shard.

    The original has no such source in its For You pipeline but its backfill and its
    popular-in-country lists play this part: without it a new user would see nothing.
    """

    name = "popular"
    gated = True

    def __init__(self, *, for_everybody: bool = False) -> None:
        self._for_everybody = for_everybody

    def find(self, query: Query) -> Finding[Candidates]:
        """Ask every shard for its most popular posts, for viewers who follow few."""
        if len(query.viewer.follows) >= FEW_FOLLOWS and not self._for_everybody:
            return NONE
        question = AskPopular(
            language=query.viewer.language,
            since_ms=query.now_ms - query.settings.windows.popular_ms,
            now_ms=query.now_ms,
            limit=query.settings.for_you.popular_results,
            reputation_version=query.versions.get(TWEEPCRED, ""),
        )
        answers = yield {shard: [question] for shard in range(query.router.n_shards)}
        limit = query.settings.for_you.popular_results
        return best_of([found for (found,) in answers.values()], limit)

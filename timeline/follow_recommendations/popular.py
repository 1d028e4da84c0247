"""Account sources that know nothing of the viewer but a country, a language and topics."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from actors.follow_questions import AskTopicAuthors
from actors.locale_follows import AskLocaleFollows, LocaleFollows, summed
from actors.questions import AskPopular
from timeline.candidates import best_of
from timeline.findings import Finding
from timeline.follow_recommendations.accounts import Accounts, Floats, Seeker, ranked
from timeline.query import FEW_FOLLOWS

_POPULAR_POSTS = 40


@dataclass(frozen=True)
class LocalePopular:
    """Accounts that many began to follow lately.

    `ppmi_locale_follow`: more often from the viewer's language than chance has it, by positive
    pointwise mutual information of account and language. `pop_country`: the most followed from
    the viewer's country; `pop_country_backfill` and `top_organic_follows` from anywhere, the
    former for those without many follows. A follow counts once the follower has a country or
    a language.
    """

    names: tuple[str, ...] = (
        *("ppmi_locale_follow", "pop_country", "pop_country_backfill", "top_organic_follows"),
    )

    def find(self, seeker: Seeker) -> Finding[Mapping[str, Accounts]]:
        """Ask every shard about the follows of its users."""
        query, settings = seeker.query, seeker.settings.sources.follow_recommendations
        ties, limit = seeker.ties, settings.popular_results
        few = len(ties.follow_ids) < FEW_FOLLOWS
        wanted = self.names if few else ("ppmi_locale_follow", "top_organic_follows")
        if not seeker.counts(*wanted):
            return {}
        question = AskLocaleFollows(
            *(ties.country, ties.language, settings.popular_window_ms, query.now_ms),
            exact=not query.recorded,
        )
        answers = yield {shard: [question] for shard in range(query.router.n_shards)}
        counted = summed([found for (found,) in answers.values()])
        new = seeker.new(counted.user_ids)
        ids, everywhere = counted.user_ids, counted.everywhere
        told = {"top_organic_follows": ranked(ids[new], everywhere[new], limit)}
        known = new & (counted.in_language >= settings.ppmi_min_follows)
        information = ppmi(counted)
        known &= information > 0
        told["ppmi_locale_follow"] = ranked(ids[known], information[known], settings.ppmi_results)
        if few:
            local = new & (counted.in_country > 0)
            told["pop_country"] = ranked(ids[local], counted.in_country[local], limit)
            told["pop_country_backfill"] = told["top_organic_follows"]
        return told


def ppmi(counted: LocaleFollows) -> Floats:
    """max(0, ln(n(account, language) · n / (n(account) · n(language)))), (n,)."""
    both = counted.in_language.astype(np.float64)
    everywhere, _, in_language = counted.totals
    apart = counted.everywhere.astype(np.float64) * in_language
    ratio = both * everywhere / np.maximum(apart, 1)
    information: Floats = np.log(np.maximum(ratio, 1.0))
    return information


@dataclass(frozen=True)
class TopicAccounts:
    """Accounts that lately wrote what others like on topics that the viewer follows."""

    names: tuple[str, ...] = ("topic_accounts",)

    def find(self, seeker: Seeker) -> Finding[Mapping[str, Accounts]]:
        """Ask every shard about its authors."""
        query, settings = seeker.query, seeker.settings.sources.follow_recommendations
        topic_ids, limit = seeker.ties.topic_ids, settings.popular_results
        if not len(topic_ids):
            return {}
        since_ms = max(query.now_ms - settings.topic_window_ms, 0)
        # Enough for those who will be left out: everybody here may be followed already.
        question = AskTopicAuthors(topic_ids, since_ms, query.now_ms, limit + len(seeker.excluded))
        answers = yield {shard: [question] for shard in range(query.router.n_shards)}
        parts = [found for (found,) in answers.values()]
        ids = np.concatenate([np.empty(0, np.int64), *(part[0] for part in parts)])
        scores = np.concatenate([np.empty(0, np.int64), *(part[1] for part in parts)])
        new = seeker.new(ids)
        return {self.names[0]: ranked(ids[new], scores[new], limit)}


@dataclass(frozen=True)
class TweetAuthors:
    """Authors of recommended posts: of the most popular ones, each by the best of theirs."""

    names: tuple[str, ...] = ("tweet_authors",)

    def find(self, seeker: Seeker) -> Finding[Mapping[str, Accounts]]:
        """Ask every shard for popular posts."""
        query = seeker.query
        question = AskPopular(
            seeker.ties.language,
            query.now_ms - query.settings.windows.popular_ms,
            query.now_ms,
            _POPULAR_POSTS,
        )
        answers = yield {shard: [question] for shard in range(query.router.n_shards)}
        posts = best_of([found for (found,) in answers.values()], _POPULAR_POSTS)
        ids, first = np.unique(posts.author_ids, return_index=True)
        new = seeker.new(ids)
        return {self.names[0]: ranked(ids[new], posts.scores[first[new]], _POPULAR_POSTS)}


SOURCES = (LocalePopular(), TopicAccounts(), TweetAuthors())

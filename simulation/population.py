"""Who lives in the world: users, their latent interests, tastes and habits."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.events import Kind
from cluster.ids import Ids
from simulation.recorder import Recorder
from simulation.rhythm import DAY_MS
from simulation.vocabulary import LANGUAGES, N_TOPICS, NAME_HEADS, NAME_TAILS

Floats = npt.NDArray[np.float32]

FIRST_USER_ID = 1_000
N_STYLES = 4
MEDIA = ("text", "image", "video", "link")

# Country, hours ahead of UTC (whole hours, no daylight saving), language, share of users.
COUNTRIES = (
    ("US", -6, "en", 0.34),
    ("GB", 0, "en", 0.12),
    ("IN", 5, "en", 0.08),
    ("DE", 1, "de", 0.10),
    ("ES", 1, "es", 0.05),
    ("MX", -6, "es", 0.07),
    ("FR", 1, "fr", 0.08),
    ("BR", -3, "pt", 0.09),
    ("JP", 9, "ja", 0.07),
)


@dataclass(frozen=True)
class Population:
    """One row per user; everything here is ground truth and does not change.

    U users, K topics, L languages.
    """

    user_ids: Ids
    interests: Floats
    """(U, K), rows sum to 1: membership of two to four overlapping communities."""
    tastes: Floats
    """(U, K), 0 … 1: interest in posts of a topic, related topics included; 1 at the best."""
    fame: Floats
    """How easily a user is found and followed; Pareto."""
    styles: Floats
    """(U, 4): how a user writes."""
    preferences: Floats
    """(U, 4): which styles a user likes."""
    media_tastes: Floats
    """(U, 4), in the order of `MEDIA`."""
    generosity: Floats
    """Added to the logit of every positive engagement."""
    talkativeness: Floats
    posts_per_day: Floats
    sessions_per_day: Floats
    quality: Floats
    """Mean quality of a user's posts."""
    toxicity: Floats
    """0 … 1: share of a user's posts that attack people."""
    adult: Floats
    """0 … 1: share of a user's posts that are adult."""
    countries: Ids
    utc_offsets_h: Ids
    languages: Ids
    reads: npt.NDArray[np.bool_]
    """(U, L): which languages a user reads."""
    ages_years: Ids
    verified: npt.NDArray[np.bool_]
    protected: npt.NDArray[np.bool_]
    allow_sensitive: npt.NDArray[np.bool_]
    created_ms: Ids

    def __len__(self) -> int:
        return len(self.user_ids)

    def style_match(self, users: Ids, authors: Ids) -> Floats:
        """How well users like the way authors write; about N(0, 1). Rows, not ids."""
        products = self.preferences[users] * self.styles[authors]
        match: Floats = products.sum(axis=1) / np.float32(np.sqrt(N_STYLES))
        return match

    def draw_topics(self, users: Ids, n_draws: int, rng: np.random.Generator) -> Ids:
        """(users, n_draws) topics, each drawn from its user's interests. Rows, not ids."""
        bounds = np.cumsum(self.interests[users], axis=1, dtype=np.float64)
        # Just short of the sum, so that rounding never draws a topic without weight.
        draws = rng.random((len(users), n_draws)) * (bounds[:, -1:] * (1 - 1e-12))
        topics: Ids = (bounds[:, None, :] <= draws[:, :, None]).sum(axis=2)
        return topics


def draw_population(n_users: int, start_ms: int, rng: np.random.Generator) -> Population:
    """Draw `n_users` users who joined during the three years before `start_ms`."""
    interests = _interests(n_users, rng)
    # A topic also interests those of the two communities next to it, half as much.
    spread = interests + 0.25 * (np.roll(interests, 1, axis=1) + np.roll(interests, -1, axis=1))
    fame = np.minimum((1 - rng.random(n_users)) ** (-1 / 1.15), 100.0)
    talkativeness = rng.normal(0, 0.7, n_users)
    lively = rng.lognormal(0, 0.6, n_users)
    countries = rng.choice(len(COUNTRIES), n_users, p=[share for *_, share in COUNTRIES])
    languages = np.array([LANGUAGES.index(language) for _, _, language, _ in COUNTRIES])[countries]
    reads = np.eye(len(LANGUAGES), dtype=bool)[languages]
    reads[:, 0] |= rng.random(n_users) < 0.6
    troubled = rng.random(n_users)
    return Population(
        user_ids=FIRST_USER_ID + np.arange(n_users),
        interests=interests,
        tastes=(spread / spread.max(axis=1, keepdims=True)).astype(np.float32),
        fame=fame.astype(np.float32),
        styles=_normal(rng, n_users, N_STYLES),
        preferences=_normal(rng, n_users, N_STYLES),
        media_tastes=_normal(rng, n_users, len(MEDIA)),
        generosity=(0.6 * _normal(rng, n_users)),
        talkativeness=talkativeness.astype(np.float32),
        posts_per_day=_scaled(lively * np.exp(talkativeness) * fame**0.3, 2.6, 40.0),
        sessions_per_day=_scaled(lively * rng.lognormal(0, 0.4, n_users), 4.5, 16.0),
        quality=(0.3 * np.log(fame) + 0.5 * rng.normal(size=n_users)).astype(np.float32),
        toxicity=np.where(troubled < 0.03, 0.5, 0.01).astype(np.float32),
        adult=np.where(troubled > 0.985, 0.6, 0.002).astype(np.float32),
        countries=countries,
        utc_offsets_h=np.array([offset for _, offset, _, _ in COUNTRIES])[countries],
        languages=languages,
        reads=reads,
        ages_years=np.clip(rng.gamma(5.0, 4.0, n_users) + 14, 14, 90).astype(np.int64),
        verified=fame > np.quantile(fame, 0.97),
        protected=(rng.random(n_users) < 0.02) & (fame < np.median(fame)),
        allow_sensitive=rng.random(n_users) < 0.25,
        created_ms=start_ms - (rng.uniform(30, 1_095, n_users) * DAY_MS).astype(np.int64),
    )


def record_users(population: Population, recorder: Recorder, rng: np.random.Generator) -> None:
    """Record the `user_create` event of every user."""
    n_users = len(population)
    heads = rng.integers(len(NAME_HEADS), size=n_users).tolist()
    tails = rng.integers(len(NAME_TAILS), size=n_users).tolist()
    recorder.add(
        Kind.USER_CREATE,
        population.created_ms,
        actor_id=population.user_ids,
        name=[
            f"{NAME_HEADS[head]}_{NAME_TAILS[tail]}{row}"
            for row, (head, tail) in enumerate(zip(heads, tails, strict=True))
        ],
        language=[LANGUAGES[row] for row in population.languages.tolist()],
        country=[COUNTRIES[row][0] for row in population.countries.tolist()],
        age_years=population.ages_years,
        verified=population.verified,
        protected=population.protected,
        allow_sensitive=population.allow_sensitive,
    )


def _interests(n_users: int, rng: np.random.Generator) -> Floats:
    """Dirichlet weights over two to four communities each; some communities are larger."""
    sizes = 1 / np.arange(2, N_TOPICS + 2) ** 0.6
    n_joined = rng.integers(2, 5, n_users)
    # Gumbel top-k draws communities without replacement, by size.
    keys = np.log(sizes) + rng.gumbel(size=(n_users, N_TOPICS))
    ranks = np.argsort(np.argsort(-keys, axis=1), axis=1)
    weights = rng.gamma(1.2, size=(n_users, N_TOPICS)) + 0.05
    weights *= ranks < n_joined[:, None]
    interests: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return interests


def _normal(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.standard_normal(shape, dtype=np.float32)


def _scaled(weights: npt.NDArray[np.float64], mean: float, ceiling: float) -> Floats:
    """Weights scaled to a mean, then cut at a ceiling."""
    scaled: Floats = np.minimum(weights * (mean / weights.mean()), ceiling).astype(np.float32)
    return scaled

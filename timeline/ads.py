"""What an ad is, which of them a viewer may see, and what is asked and answered about them.

No ad is worth a page: whoever offers none in time, or nothing that can be read, costs the page
its ads and nothing else. Where ads stand is the mixer's to say, and who is asked for them
`ad_sources`'.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, filterfalse, islice
from typing import Protocol

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from actors.known_labels import KNOWN_LABELS
from actors.viewer_state import ViewerState
from cluster.mixer_settings import DAY_MS, AdsSettings
from timeline.candidates import Candidates
from timeline.parameters import Id
from timeline.query import Query

Scalar = str | int | float | bool | None

_SERVED_AS = "ad_"
AD_FREE = "ad_free"
"""The viewer's preference that says, by a value above 0, that they pay to see no ads."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ad:
    """One ad, as an advertiser bought it."""

    id: str
    advertiser_id: str
    position: int | None = None
    """Index on the page that was bought, from 0; None for any."""
    brand_safety: frozenset[str] = frozenset()
    """Of `KNOWN_LABELS`: never beside a post that has one, or whose author has."""
    excluded_topic_ids: frozenset[int] = frozenset()
    """Never beside a post on one of these."""
    text: str = ""
    url: str = ""
    payload: Mapping[str, Scalar] = field(default_factory=dict)
    """For the client, passed on as it came."""
    expires_ms: int = 0
    """0 for never."""
    adults_only: bool = False


@dataclass(frozen=True)
class AdsContext:
    """What an ads source may know of a request."""

    viewer_id: int
    product: str
    now_ms: int
    left_s: float
    """Time left for the whole request."""
    post_ids: tuple[int, ...] = ()
    """Those of the page, in order."""
    topic_ids: tuple[int, ...] = ()
    """Of each of these posts; 0 for none."""
    languages: tuple[str, ...] = ()
    """That the viewer reads."""


@dataclass(frozen=True)
class Offer:
    """What a source offered."""

    ads: tuple[Ad, ...] = ()
    refused: int = 0
    """Ads that were not as they have to be."""
    problem: str = ""
    """Why nothing was learnt; "" where the source answered."""


class AdsSource(Protocol):
    """Offers ads for a page; never raises, and keeps to the time left."""

    def fetch(self, context: AdsContext) -> Offer:
        """Ads in the order in which they should stand."""

    def close(self) -> None:
        """Give back what it holds."""


def context_of(query: Query, product: str, shown: Candidates) -> AdsContext:
    """What is told of a page of posts."""
    n = query.settings.mixer.ads.max_organic
    mine = query.viewer.language
    languages = query.state.languages or ((mine,) if mine else ())
    return AdsContext(
        *(query.viewer_id, product, query.now_ms, query.left_s()),
        post_ids=tuple(shown.post_ids[:n].tolist()),
        topic_ids=tuple(shown.topic_ids[:n].tolist()),
        languages=languages,
    )


def wanted(product: str, state: ViewerState, n_posts: int, settings: AdsSettings) -> bool:
    """Whether a page may have ads at all: none for who pays, nor where there are no posts."""
    pays = state.preferences.get(AD_FREE, 0.0) > 0
    return product in settings.products and n_posts > 0 and not pays


def left_today(state: ViewerState, now_ms: int, settings: AdsSettings) -> int:
    """How many ads more the viewer may be served, by those served in the last 24 hours."""
    return max(settings.max_per_day - len(_today(state, now_ms)), 0)


def names_of_next(n: int, state: ViewerState, now_ms: int) -> list[str]:
    """What `module_served` events call the next n ads: `ad_1`, `ad_2` … as far as 24 hours go.

    A viewer's state tells of each name when it was served last, so a name that is free again
    says that its ad is a day old; there are never more names than ads of a day.
    """
    free = filterfalse(_today(state, now_ms).__contains__, count(1))
    return [f"{_SERVED_AS}{number}" for number in islice(free, n)]


def for_viewer(
    ads: Sequence[Ad], state: ViewerState, now_ms: int, settings: AdsSettings
) -> list[Ad]:
    """Ads that this viewer may see now: not expired, and none for adults for who may be none."""
    adult = state.age_years >= settings.adult_age  # an unknown age is 0
    return [
        ad
        for ad in ads
        if (not ad.expires_ms or now_ms < ad.expires_ms) and (adult or not ad.adults_only)
    ]


def read_ads(body: bytes, max_bytes: int, max_ads: int | None) -> Offer:
    """The good ads of a document `{"ads": [...]}`, and how many were not.

    Bad are those that lack what they need or have what no ad has, copies of an id before, and
    those beyond `max_ads`. Raises `ValueError` for what is too long or no such document.
    """
    if len(body) > max_bytes:
        raise ValueError(f"more than {max_bytes} bytes of ads")
    document = orjson.loads(body)
    given = document.get("ads") if isinstance(document, dict) else None
    if not isinstance(given, list):
        raise ValueError('ads must be a JSON object with a list "ads"')
    ads: dict[str, Ad] = {}
    for one in given:
        if max_ads is not None and len(ads) == max_ads:
            break
        try:
            ad = _GivenAd.model_validate(one).ad()
        except ValidationError as error:
            _LOG.debug("an ad is refused: %s", error)
        else:
            ads.setdefault(ad.id, ad)
    return Offer(tuple(ads.values()), len(given) - len(ads))


def _today(state: ViewerState, now_ms: int) -> set[int]:
    """The numbers of the ads that the viewer was served in the last 24 hours."""
    return {
        int(name.removeprefix(_SERVED_AS))
        for name, at_ms in state.modules_ms.items()
        if now_ms - at_ms < DAY_MS and name.startswith(_SERVED_AS)
    }


class _GivenAd(BaseModel):
    """An ad as it has to be in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(min_length=1, max_length=128)
    advertiser_id: str = Field(min_length=1, max_length=128)
    position: int | None = Field(None, ge=0, le=1_000)
    brand_safety: list[str] = []
    excluded_topic_ids: list[Id] = []
    text: str = Field("", max_length=1_000)
    url: str = Field("", max_length=2_048, pattern=r"^(https?://\S+)?$")
    payload: dict[str, Scalar] = Field({}, max_length=64)
    expires_ms: int = Field(0, ge=0, le=2**53)
    adults_only: bool = False

    @field_validator("brand_safety")
    @classmethod
    def _labels_are_known(cls, names: list[str]) -> list[str]:
        # What is asked for in vain must not run where it may not.
        unknown = set(names).difference(KNOWN_LABELS)
        if unknown:
            raise ValueError(f"no such labels: {', '.join(sorted(unknown))}")
        return names

    def ad(self) -> Ad:
        """The same as the rest of the program knows it."""
        columns = self.model_dump(exclude={"brand_safety", "excluded_topic_ids"})
        return Ad(
            **columns,
            brand_safety=frozenset(self.brand_safety),
            excluded_topic_ids=frozenset(self.excluded_topic_ids),
        )

"""Which of the original's account sources there are here, and why others are not."""

from collections.abc import Mapping

UNSUPPORTED: Mapping[str, str] = {
    "forward_email_book": "no event carries an address book",
    "forward_phone_book": "no event carries an address book",
    "reverse_email_book": "no event carries an address book",
    "reverse_phone_book": "no event carries an address book",
    "offline_stp_dense_pmi": "precomputed; the live graph answers it as online_stp",
    "offline_stp_legacy_pmi": "precomputed; the live graph answers it as online_stp",
    "offline_mutual_follow_expansion": "precomputed; online_stp walks the same mutual follows",
    "social_proof_enforced_stp": "every account that is told has its social proof counted anew",
    "pop_geohash": "no event says where a user is, but for the country",
    "pop_geo_quality_follow": "no event says where a user is, but for the country",
    "crowd_search_accounts": "no event tells of searches",
    "promoted_accounts": "there are no advertisements",
}
"""Source of the original → why no flow has it."""

SEEDS_ONLY: Mapping[str, str] = {
    "recent_engagement_direct": "its accounts are followed: salsa_expansion sets out from them",
    "mutual_follow_stp": "its accounts are followed: online_stp sets out from them",
}
"""Sources whose accounts could never be recommended themselves."""

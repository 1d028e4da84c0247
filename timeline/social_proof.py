"""The name under which the timeline knows the social proof that it shares with training."""

from actors.social_proof import PROOF_KINDS, SocialProof

__all__ = ["PROOF_KINDS", "SocialProof"]

"""What a post's text looks like, computed when it arrives (Earlybird's text score)."""

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel

STATISTICS = ("text_length", "text_score", "hashtags", "mentions", "capitals_share")

_MAX_TOKENS = 512


@kernel
def text_statistics(
    buffer: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int32],
    link_counts: npt.NDArray[np.int16],
) -> npt.NDArray[np.float32]:
    """Statistics of UTF-8 texts, float32 of shape (n, 5) in the order of `STATISTICS`.

    The text score is 100·(0.5·L + 0.1·R + 0.1·(1 − shout) + 0.25·E + 0.05·[has link]) with
    L, R, E = 2·(σ(αx) − 0.5) of letters (α 0.03), readability (0.05) and the entropy of
    the tokens in bits (0.5). Bytes of non-ASCII letters count as letters, so that texts in
    other scripts are not called empty; the published factor for offensive words is left to
    the safety labels.
    """
    result = np.zeros((len(starts), 5), np.float32)
    tokens = np.empty(_MAX_TOKENS, np.uint64)
    for row in range(len(starts)):
        letters = capitals = hashtags = mentions = 0
        n_tokens = token_bytes = 0
        token_hash = np.uint64(1469598103934665603)
        in_token = False
        for at in range(starts[row], starts[row] + lengths[row] + 1):
            byte = buffer[at] if at < starts[row] + lengths[row] else np.uint8(32)
            if byte == 32 or byte == 10 or byte == 9 or byte == 13:
                if in_token and n_tokens < _MAX_TOKENS:
                    tokens[n_tokens] = token_hash
                    n_tokens += 1
                in_token = False
                token_hash = np.uint64(1469598103934665603)
                continue
            if not in_token:
                if byte == 35:
                    hashtags += 1
                elif byte == 64:
                    mentions += 1
            in_token = True
            token_bytes += 1
            token_hash = (token_hash ^ np.uint64(byte)) * np.uint64(1099511628211)
            if 65 <= byte <= 90:
                capitals += 1
                letters += 1
            elif 97 <= byte <= 122 or byte >= 192:
                letters += 1
        entropy = 0.0
        if n_tokens:
            ordered = np.sort(tokens[:n_tokens])
            run = 1
            for i in range(1, n_tokens + 1):
                if i < n_tokens and ordered[i] == ordered[i - 1]:
                    run += 1
                else:
                    share = run / n_tokens
                    entropy -= share * np.log2(share)
                    run = 1
        readability = token_bytes * np.log(n_tokens) / n_tokens if n_tokens else 0.0
        shout = capitals / letters if letters else 0.0
        score = 50.0 * _squash(0.03 * letters) + 10.0 * _squash(0.05 * readability)
        score += 10.0 * (1.0 - shout) + 25.0 * _squash(0.5 * entropy)
        score += 5.0 if link_counts[row] > 0 else 0.0
        result[row, 0] = lengths[row]
        result[row, 1] = score if lengths[row] else 0.0
        result[row, 2] = hashtags
        result[row, 3] = mentions
        result[row, 4] = shout
    return result


@kernel
def _squash(x: float) -> float:
    squashed: float = 2.0 / (1.0 + np.exp(-x)) - 1.0
    return squashed

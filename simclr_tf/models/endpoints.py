"""What an encoder returns, as endpoints by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

FINAL_ENDPOINT = "final_avg_pool"  # h
PROJECTED_ENDPOINT = "proj_head_output"  # z
LOGITS_ENDPOINT = "logits_sup"  # of the linear head
MAP_ENDPOINT = "feature_map"  # of an encoder that returns a map and nothing else
# Names under which others return what we call `final_avg_pool`, the first that is there counts.
FEATURE_NAMES = ("default", "embedding", "features", "pooler_output")


def endpoints_of(output: Any) -> dict[str, tf.Tensor]:
    """The output of an encoder as endpoints by name, `final_avg_pool` among them.

    Args:
        output: Features (N, D), tokens (N, T, D) or a map (N, h, w, D), which are averaged over
            their positions; or a mapping with one of these as `final_avg_pool`, as one of
            `FEATURE_NAMES`, or alone.

    Returns:
        The tensors of a mapping under their names; `final_avg_pool` (N, D), float32; and what it
        is the mean of as `feature_map`, where the encoder has no name for it.

    Raises:
        ValueError: Says what it gives instead.
    """
    if isinstance(output, Mapping):
        endpoints = {str(name): value for name, value in output.items() if tf.is_tensor(value)}
        known = [name for name in (FINAL_ENDPOINT, *FEATURE_NAMES) if name in endpoints]
        if not known and len(endpoints) == 1:
            known = list(endpoints)
        if not known:
            wanted, found = (FINAL_ENDPOINT, *FEATURE_NAMES), sorted(map(str, output))
            raise ValueError(f"gives none of {wanted} but {found}")
        features = endpoints[known[0]]
    elif tf.is_tensor(output):
        features = output
        endpoints = {MAP_ENDPOINT: output} if output.shape.rank in (3, 4) else {}
    else:
        raise ValueError(f"gives a {type(output).__name__}, neither a tensor nor a mapping")
    rank = features.shape.rank
    if rank not in (2, 3, 4) or not features.dtype.is_floating:
        raise ValueError(f"gives {features.dtype.name} {tuple(features.shape)}")
    if rank > 2:
        features = tf.reduce_mean(tf.cast(features, tf.float32), list(range(1, rank - 1)))
    endpoints[FINAL_ENDPOINT] = tf.cast(features, tf.float32)  # (N, D)
    return endpoints

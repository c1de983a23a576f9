"""Settings of `--mode=embed` and `--mode=neighbors`; standard library only."""

from __future__ import annotations

import dataclasses

from simclr_tf.errors import require
from simclr_tf.settings.checks import check_settings


@dataclasses.dataclass(frozen=True)
class RetrievalConfig:
    """What to write, and what to look for in it.

    Attributes:
        output: With `embed` the file of embeddings, `.parquet` or `.npz`; with `neighbors` the
            picture, `.png`. None means the picture lies beside the embeddings.
        embeddings: The file that `neighbors` searches.
        query: An image file, or the id of an image in `embeddings`. None looks for near-duplicates
            among all images of the file.
        num_neighbors: Images to show for a query.
        duplicate_similarity: Cosine similarity from which two images are near-duplicates.
    """

    output: str | None = None
    embeddings: str | None = None
    query: str | None = None
    num_neighbors: int = 10
    duplicate_similarity: float = 0.95

    def __post_init__(self) -> None:
        check_settings(self)
        require(self.output != "", "output", "must name a file", self.output)
        require(self.embeddings != "", "embeddings", "must name a file", self.embeddings)
        require(self.query != "", "query", "must name an image file or an id", self.query)

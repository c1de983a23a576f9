"""Settings of `--mode=embed` and `--mode=neighbors`; standard library only."""

from __future__ import annotations

import dataclasses

from simclr_tf.errors import require


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
        require(self.output != "", "output", "must name a file", self.output)
        require(self.embeddings != "", "embeddings", "must name a file", self.embeddings)
        require(self.query != "", "query", "must name an image file or an id", self.query)
        require(1 <= self.num_neighbors < 2**31, "num_neighbors",
                "must be at least 1 and below 2^31", self.num_neighbors)  # fmt: skip
        require(0 < self.duplicate_similarity <= 1, "duplicate_similarity",
                "must lie in (0, 1]", self.duplicate_similarity)  # fmt: skip

"""What the machine's matrix products reach in TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.speed.timing import Round, rates
from simclr_tf import startup


def products(*, size: int, products: int, samples: int, precisions: Sequence[str]) -> Round:
    """GFLOP/s of square matrix products in each precision."""
    startup.load_tensorflow()
    import tensorflow as tf

    @tf.function
    def several(matrix: tf.Tensor) -> tf.Tensor:
        result = matrix
        for _ in tf.range(products):
            result = tf.matmul(matrix, result)
        return result

    # Of length 1 in every product, so that nothing grows or vanishes.
    whole = tf.linalg.qr(tf.random.stateless_normal([size, size], [0, 0]))[0]
    matrices = {name: tf.cast(whole, name) for name in precisions}
    gflop = 2e-9 * size**3 * products

    def measure() -> dict[str, list[float]]:
        return {
            name: rates(lambda m=matrix: several(m)[0, 0].numpy(), gflop, samples)
            for name, matrix in matrices.items()
        }

    measure()
    return measure

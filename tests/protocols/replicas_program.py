"""Frozen protocols and fine-tuning on one device and on two logical CPUs; prints JSON.

Run by the test as a process of its own: logical devices are configured before TensorFlow starts.
"""

import json
import sys

import numpy as np
import tensorflow as tf
import tf_keras as keras

from simclr_tf.config import AugmentConfig, DataConfig, EncoderConfig, ModelConfig, StrategyConfig
from simclr_tf.console import silent
from simclr_tf.data import sources
from simclr_tf.data.images import Images
from simclr_tf.distribution import build_strategy
from simclr_tf.evaluation.encoders import from_model
from simclr_tf.job import Job
from simclr_tf.models.network import build_model
from simclr_tf.protocols import fitting, knn, linear
from simclr_tf.protocols.context import Context
from simclr_tf.settings.protocols import ProtocolConfig
from tests.eager import eagerly


def context(strategy, folder):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        encoder = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar")
        network = from_model(build_model(ModelConfig(encoder=encoder), None, 8), 8)
    source = sources.open_source(DataConfig(dataset="digits", image_size=8))
    return Context(
        encoder=network,
        images=Images(source, 8, 48, Job(strategy, silent)),
        train_split="train[:130]",
        test_split="test[:70]",  # neither is a multiple of the batch
        settings=ProtocolConfig(linear_epochs=3, linear_batch_size=32, knn_neighbors="3"),
        folder=folder,
        augment=AugmentConfig(crop_area_min=0.8),
    )


def measure(strategy, folder):
    within = context(strategy, folder)
    test = within.features("test[:70]")
    heads = linear.train_heads(within, "train[:130]", 32, 4)
    # Batch norm is left out of the comparison: it has its own proof.
    model = fitting.build_classifier(within, pretrained=True, after_block=4)
    images = fitting.TrainImages(within.source, "train[:130]")
    plan = fitting.plan_steps(2, 32, fitting.momentum_optimizer(0.5), images.num_images)
    fitting.fit(within, model, images, plan, "test")
    found = fitting.score(within, model, "test[:70]")
    return {
        "features": test.features,
        "labels": test.labels,
        "kernel": heads.layers[0].kernel.numpy(),
        "finetuned": model.linear_head.kernel.numpy(),
        "logits": found.logits,
        "score_labels": found.labels,
        "knn": np.array(knn.run(within).metrics["plain"]["k_3"]),
    }


def main(folder):
    two = build_strategy(StrategyConfig(num_logical_cpus=2))
    with eagerly():
        one = measure(tf.distribute.OneDeviceStrategy("/cpu:0"), f"{folder}/one")
    results = one, measure(two, f"{folder}/two")
    report = {
        name: {"shape": list(one.shape), "deviation": float(np.abs(one - other).max())}
        for (name, one), other in zip(results[0].items(), results[1].values(), strict=True)
        if one.shape == other.shape
    }
    print(json.dumps({"replicas": two.num_replicas_in_sync, "report": report}))


if __name__ == "__main__":
    main(sys.argv[1])

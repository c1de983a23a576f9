"""Embedding and searching with arguments instead of a command."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from simclr_tf.config import Embed, Explore, Neighbors
from simclr_tf.job import Job
from simclr_tf.modes import embed as embed_mode
from simclr_tf.modes import explore as explore_mode
from simclr_tf.modes import neighbors as neighbors_mode


def embed(data, checkpoint, output, *, split=None, batch_size=256, strategy=None, say, **settings):
    data = dataclasses.replace(data, eval_split=split) if split else data
    command = Embed(checkpoint, output, data=data, eval_batch_size=batch_size, **settings)
    job = Job(strategy or tf.distribute.get_strategy(), say)
    return embed_mode.embed(command, job)


def neighbors(embeddings, *, say=print, **settings):
    return neighbors_mode.neighbors(Neighbors(embeddings, **settings), say)


def explore(embeddings, *, say=print, **settings):
    return explore_mode.explore(Explore(embeddings, **settings), say)

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from simclr_tf.training.summaries import Summaries


def test_scalars_and_views_can_be_read_back(tmp_path):
    summaries = Summaries(str(tmp_path))
    summaries.scalars(5, {"train/contrast_loss": 1.5, "learning_rate": 0.25})
    summaries.views(5, np.zeros((4, 6, 3), np.uint8))
    summaries.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {"train/contrast_loss", "learning_rate", "image"} <= tags
    event = events.Tensors("train/contrast_loss")[0]
    assert event.step == 5
    assert np.frombuffer(event.tensor_proto.tensor_content, np.float32)[0] == 1.5

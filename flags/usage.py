"""The text of `python run.py --help`."""

from __future__ import annotations

import textwrap

from flags import definitions

_HEADER = """\
Contrastive learning of visual representations (SimCLR), TensorFlow 2.

  python run.py --mode=train_then_eval                      quickstart on embedded images
  python run.py --mode=train_then_eval --recipe=cifar10_cpu --data_dir=DIR
  python run.py --mode=eval --model_dir=RUN                 evaluate the checkpoints of a run
  python run.py --mode=evaluate --checkpoint=ANY --protocols=linear,knn,logreg --dataset=...
  python run.py --mode=embed --checkpoint=ANY --dataset=folder:DIR --output=FILE.parquet
  python run.py --mode=neighbors --embeddings=FILE.parquet --query=IMAGE --checkpoint=ANY
  python run.py --mode=study --study=temperature --study_budget=60 --model_dir=DIR
  python -m simclr_tf.report RUN [RUN ...]                  pages of runs, one or side by side
  python -m export --checkpoint=ANY --output=DIR            SavedModel, TF-Hub, .keras
"""


def _entry(name: str, default: object, text: str) -> str:
    shown = "" if default is None else f" [{default}]"
    body = textwrap.wrap(text + shown, width=66)
    lead = f"  --{name}"
    lines = [f"{lead:<31}{body[0]}"] if len(lead) < 31 else [lead, " " * 31 + body[0]]
    return "\n".join(lines + [" " * 31 + line for line in body[1:]])


def help_text() -> str:
    """All flags with defaults, grouped by area."""
    values = definitions.define_flags()
    by_area = values.flags_by_module_dict()
    parts = [_HEADER]
    for area in ("Run", *definitions.AREAS, definitions.LOGGING_AREA):
        parts.append(f"{area}:")
        parts += [_entry(flag.name, flag.default, flag.help or "") for flag in by_area[area]]
        parts.append("")
    return "\n".join(parts)

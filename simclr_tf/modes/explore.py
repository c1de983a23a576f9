"""`--mode=explore`: what is in a folder, on one page and in one table."""

from __future__ import annotations

import os
import pathlib

from simclr_tf import console
from simclr_tf.console import Say
from simclr_tf.errors import require
from simclr_tf.exploration import findings, page, table
from simclr_tf.exploration.findings import Findings
from simclr_tf.exploration.given_labels import with_labels
from simclr_tf.exploration.thumbnails import Origin
from simclr_tf.files import (
    check_length,
    check_local,
    remove_leftovers,
    require_ours,
    write_text_atomically,
)
from simclr_tf.report.page import MARK
from simclr_tf.retrieval.embeddings import Embeddings, check_parent
from simclr_tf.retrieval.neighbors import Space
from simclr_tf.retrieval.opening import open_embeddings, open_space
from simclr_tf.settings.commands import Explore
from simclr_tf.text import printable_name
from simclr_tf.units import format_bytes, format_count, format_percent

_SUFFIX = ".html"
_MANY = 5000  # images, with which it takes long enough to say what is being done


def explore(command: Explore, say: Say = console.say, origin: Origin | None = None) -> str:
    """Shows what is among the images of a file of embeddings.

    The page, and the table beside it, appear when all is done; older ones of ours are replaced.

    Args:
        command: What to look at.
        say: Receives lines for the user.
        origin: Where pictures of the images come from: a source and a split expression; None takes
            what the file of embeddings says.

    Returns:
        The path of the page.

    Raises:
        InputError: Bad file, folder, labels or output.
    """
    embeddings = command.embeddings
    assert embeddings is not None  # else refused
    check_local(embeddings, "embeddings")
    check_length(embeddings, "embeddings")
    target, beside = _paths(embeddings, command.output)
    content = open_embeddings(embeddings, command.image_folder, say)
    if command.labels is not None:
        content = with_labels(content, command.labels, say)
    count = len(content.ids)
    require(command.num_groups is None or command.num_groups <= count, "num_groups",
            f"must be at most {count}, the number of images", command.num_groups)  # fmt: skip
    space = open_space(content, command.similarity, command.duplicate_similarity, say)
    patience = count >= _MANY

    def on_stage(stage: str) -> None:
        if patience:
            say(f"{stage} ...")

    found = findings.find(content, space, command.num_groups, on_stage)
    on_stage("pictures")
    title = pathlib.Path(embeddings).stem
    html = page.page_html(printable_name(title), content, found, space, origin,
                          os.path.basename(beside))  # fmt: skip
    for path in (beside, target):
        remove_leftovers(path)
    write_text_atomically(beside, table.csv_table(content, found))
    write_text_atomically(target, html)
    _say_findings(content, found, space, say)
    say(f"page: {target} ({format_bytes(os.path.getsize(target))})")
    say(f"table: {beside}")
    say("next: open the page in a browser, mark what to keep and drop, name groups, and download "
        "the marks; --labels=FILE.csv takes such names as labels")  # fmt: skip
    return target


def _paths(embeddings: str, output: str | None) -> tuple[str, str]:
    """The page and the table, both of which may be written."""
    stem = f"{os.path.splitext(embeddings)[0]}.explore"
    if output is not None:
        require(output.lower().endswith(_SUFFIX), "output", "must end in .html with mode=explore",
                output)  # fmt: skip
        stem = output[: -len(_SUFFIX)]
    target = os.path.expanduser(f"{stem}{_SUFFIX}" if output is None else output)
    beside = os.path.expanduser(f"{stem}.csv")
    for path, mark in ((target, MARK), (beside, table.MARK)):
        require(not os.path.isdir(path), "output", "must name a file, not a folder", path)
        check_parent(path, "output")
        require_ours(path, mark, "output")
    return target, beside


def _say_findings(content: Embeddings, found: Findings, space: Space, say: Say) -> None:
    """What was found, in a few lines."""
    count = len(content.ids)
    if found.groups.number > 1:
        chosen = "" if found.groups.excess is None else ", chosen by how far they are apart"
        say(f"{found.groups.number} groups{chosen} (--num_groups)")
    else:
        say("no groups stand out (--num_groups=8 makes some)")
    in_groups = format_count(int((found.duplicate_group >= 0).sum()), "image")
    say(f"{format_count(len(found.duplicates), 'group')} of near-duplicates with {in_groups} "
        f"(chains of pairs with a similarity of at least {space.limit:.4g})")  # fmt: skip
    if page.most_are_copies(found):
        say("note: most images are near-duplicates at this limit; a higher --duplicate_similarity "
            "tells more")  # fmt: skip
    say(f"{format_count(len(found.outliers.listed), 'outlier')}, far from all others")
    suspects = found.suspects
    if suspects is not None:
        agreement = page.agreement_of(suspects.score)
        if agreement is None:
            say("labels: none has two images, so that neighbours can't judge them")
        else:
            say(f"labels: neighbours agree with {format_percent(agreement)}, "
                f"{format_count(len(suspects.listed), 'label')} may be wrong")  # fmt: skip
    if len(found.to_label):
        labelled = 0 if content.labels is None else int((content.labels >= 0).sum())
        say(f"{labelled:,} of {format_count(count, 'image')} have labels; "
            f"{len(found.to_label)} are proposed to label next")  # fmt: skip

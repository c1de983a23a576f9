"""Fixtures that tests of several packages share."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import sys
from collections.abc import Iterator

import pytest

from tests import shallow

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as run.py sets it
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

pytest_plugins = ["tests.processor_time"]

# Where tests are of what is around the encoder, it is shallow (tests/shallow.py), unless they carry
# the mark `whole`.
SHALLOW = {
    **dict.fromkeys([
        "evaluation", "modes", "protocols", "report", "retrieval", "studies",
        "test_documentation.py", "test_encoder.py", "test_equality.py", "test_experiment.py",
        "test_multi_worker.py", "test_run.py", "models/test_network.py", "models/test_saving.py",
        "weights/test_restore.py",
    ], shallow.FOUR),
    "export": shallow.ALL_GROUPS,
    "training": shallow.ONE,
}  # fmt: skip

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """With which network a test runs: before any of its fixtures is made."""
    place = item.path.relative_to(REPOSITORY / "tests")
    whole = item.get_closest_marker("whole") is not None
    usual = SHALLOW.get(place.as_posix(), SHALLOW.get(place.parts[0], shallow.WHOLE))
    shallow.install(shallow.WHOLE if whole else usual)


@pytest.fixture(scope="session", autouse=True)
def graphs_as_traced():
    """No test's few steps are worth the time of optimizing their graphs."""
    if "tensorflow" in sys.modules:
        from tests.eager import as_traced

        as_traced()


@pytest.fixture(scope="session")
def fixtures_dir() -> pathlib.Path:
    """The small fixtures that travel with the repository."""
    return REPOSITORY / "tests" / "fixtures"


@pytest.fixture(scope="session")
def shared_dir() -> pathlib.Path:
    """The folder with the large fixtures; skips the test where it is absent."""
    path = pathlib.Path(os.environ.get("SIMCLR_TF_SHARED", REPOSITORY.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"large fixtures are absent: {path} (set SIMCLR_TF_SHARED)")
    return path


@contextlib.contextmanager
def shared_folder(factory: pytest.TempPathFactory, name: str) -> Iterator[pathlib.Path]:
    """A folder that all workers of a test run share, held by one of them at a time."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / f"shared-{name}"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.mkdir(exist_ok=True)
        yield folder


@pytest.fixture(scope="session", autouse=True)
def prepared_data(tmp_path_factory):
    """The embedded data sets are prepared in a folder of the test session, not of the user."""
    with shared_folder(tmp_path_factory, "tfds") as folder:
        pass  # nobody holds it: workers may prepare a set at the same time
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(folder))
        yield


@pytest.fixture
def eager():
    """Without graphs, which cost more than the few steps that are taken."""
    from tests.eager import eagerly

    with eagerly():
        yield


@pytest.fixture
def small_files():
    """Makes a block in which no file gets longer than 20,000 bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource")

    @contextlib.contextmanager
    def limited():
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture(scope="session")
def tiny_model():
    """Builds a ResNet-18 of 1/16 width: `tiny_model(num_classes, **model_settings)`."""
    import tf_keras as keras

    from simclr_tf.config import EncoderConfig, ModelConfig, ProjectionConfig
    from simclr_tf.models.network import build_model

    def build(num_classes: int | None = 3, seed: int = 0, **settings):
        keras.utils.set_random_seed(seed)
        encoder = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar")
        projection = ProjectionConfig(num_proj_layers=2, proj_out_dim=8)
        config = ModelConfig(encoder=encoder, projection=projection, **settings)
        return build_model(config, num_classes, image_size=32)

    return build

"""Loads an exported model in every way there is, where this project can't be imported.

    python loaders_program.py DIR ARCHIVE SERVING DATA.npz LOADER ...

prints one line of JSON: what each loader found. `deviation` is the largest absolute difference
from the live model's outputs; the other keys are explained where they are set.
"""

import base64
import contextlib
import functools
import http.server
import io
import json
import os
import re
import runpy
import sys
import tempfile
import threading
import traceback
import urllib.request

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
OURS = {"simclr_tf", "export", "flags", "run"}
# Importing them fails, even in a process that starts with some of them (tests/warm.py).
sys.modules.update(dict.fromkeys({n for n in sys.modules if n.split(".")[0] in OURS} | OURS))

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

DIR, ARCHIVE, SERVING, DATA_FILE, *LOADERS = sys.argv[1:]
DATA = dict(np.load(DATA_FILE))
IMAGES = tf.constant(DATA["images"])
LABELS = DATA["labels"]
CLASSES = 3


def largest(a, b) -> float:
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())


def values(variables) -> dict:
    return {v.name: np.array(v.numpy()) for v in variables}


def changed(before: dict, variables) -> set:
    return {name for name, value in values(variables).items() if (value != before[name]).any()}


def statistics(names) -> set:
    return {name for name in names if "moving_" in name}


def encoder_part(names) -> set:
    """Those that the embedding depends on."""
    return {name for name in names if "projection_head" not in name and "linear_head" not in name}


def report_changes(before: dict, variables) -> dict:
    """Which share of what the embedding depends on was trained, and moved, by a fit."""
    moved = changed(before, variables)
    ours = encoder_part(before)
    return {
        "trained": len(encoder_part(moved - statistics(moved))) / len(ours - statistics(ours)),
        "statistics_moved": len(encoder_part(statistics(moved))) / len(statistics(ours)),
        "others_changed": sorted(moved - ours),
    }


# The object itself: `module(images, trainable=..., training=...)`.


def check_module(module, trained: bool = True) -> dict:
    """What it computes, and what training it changes: the object is the same wherever it lies."""
    outputs = module(IMAGES)
    result = {
        "deviation": max(largest(outputs[n], DATA[f"out/{n}"]) for n in outputs),
        "endpoints": sorted(outputs),
        "bytes_deviation": largest(
            module.from_bytes(tf.constant(list(DATA["files"])))["embedding"],
            DATA["bytes/embedding"],
        ),
    }
    before = values(module.variables)
    module(IMAGES, training=False)
    module(IMAGES, trainable=False)
    result["inference_changes"] = len(changed(before, module.variables))
    return {**result, **fine_tune(module, before)} if trained else result


def fine_tune(module, before: dict) -> dict:
    """A plain training loop; `gradients` is the share of variables with one that is not zero."""
    width = module(IMAGES[:1])["final_avg_pool"].shape[-1]
    kernel = tf.Variable(tf.zeros([width, CLASSES]))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = module(IMAGES, trainable=True)["final_avg_pool"] @ kernel
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, logits)
            loss = tf.reduce_mean(losses)
        variables = [*module.trainable_variables, kernel]
        gradients = tape.gradient(loss, variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_sub(0.1 * gradient)
        return loss, gradients[:-1]

    losses = []
    for _ in range(12):
        loss, gradients = step()
        losses.append(float(loss))
    pairs = zip(module.trainable_variables, gradients, strict=True)
    reached = {v.name for v, g in pairs if np.any(g.numpy() != 0)}
    ours = encoder_part(v.name for v in module.trainable_variables)
    return {
        "loss": [losses[0], losses[-1]],
        "gradients": len(reached & ours) / len(ours),
        **report_changes(before, module.variables),
    }


def saved_model() -> dict:
    return check_module(tf.saved_model.load(DIR))


def hub_folder() -> dict:
    import tensorflow_hub as hub

    assert hub.resolve(DIR) == DIR
    return check_module(hub.load(DIR), trained=False)


def hub_archive() -> dict:
    """A local archive: `direct` is what `hub.load` says to the file itself."""
    import tensorflow_hub as hub

    try:
        hub.load(ARCHIVE)
    except ValueError as error:
        return {"direct": str(error)}
    return {"direct": "works"}


def hub_http() -> dict:
    """A real server; `requests` are the paths that it was asked for."""
    import tensorflow_hub as hub

    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            requests.append(self.path)

    handler = functools.partial(Handler, directory=os.path.dirname(ARCHIVE))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        tempfile.TemporaryDirectory() as cache,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        os.environ["TFHUB_CACHE_DIR"] = cache
        handle = f"http://127.0.0.1:{server.server_port}/{os.path.basename(ARCHIVE)}"
        folder = hub.resolve(handle)
        result = check_module(hub.load(handle), trained=False)
        result["card"] = os.path.isfile(os.path.join(folder, "assets.extra", "README.md"))
        server.shutdown()
    return {**result, "requests": requests}


# Keras 2 through tensorflow_hub.


def fit(model, optimizer, epochs: int = 12, run_eagerly: bool = False) -> list:
    keras = sys.modules[type(model).__module__.split(".")[0]]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, run_eagerly=run_eagerly)
    history = model.fit(DATA["images"], LABELS, batch_size=len(LABELS), epochs=epochs, verbose=0)
    return [history.history["loss"][0], history.history["loss"][-1]]


def keras_layer_frozen() -> dict:
    import tensorflow_hub as hub
    import tf_keras

    layer = hub.KerasLayer(DIR, output_key="final_avg_pool")
    inputs = tf_keras.Input((None, None, 3))
    model = tf_keras.Model(
        inputs, tf_keras.layers.Dense(CLASSES, kernel_initializer="zeros")(layer(inputs))
    )
    before = values(layer.variables)
    losses = fit(model, tf_keras.optimizers.Adam(0.05))
    return {
        "deviation": largest(layer(IMAGES), DATA["out/final_avg_pool"]),
        "loss": losses,
        "changes": len(changed(before, layer.variables)),
        "trainable_weights": len(layer.trainable_weights),
    }


def keras_layer_trainable() -> dict:
    import tensorflow_hub as hub
    import tf_keras

    layer = hub.KerasLayer(
        DIR, trainable=True, output_key="final_avg_pool", input_shape=(16, 16, 3)
    )
    model = tf_keras.Sequential([layer, tf_keras.layers.Dense(CLASSES, kernel_initializer="zeros")])
    before = values(layer.variables)
    deviation = largest(layer(IMAGES), DATA["out/final_avg_pool"])
    result = {
        "deviation": deviation,
        "inference_changes": len(changed(before, layer.variables)),
        "losses_of_the_layer": len(layer.losses),
        "loss": fit(model, tf_keras.optimizers.Adam(0.01)),
        **report_changes(before, layer.variables),
    }
    before = values(layer.variables)
    model.evaluate(DATA["images"], LABELS, verbose=0)
    result["inference_changes"] += len(changed(before, layer.variables))
    return result


# Keras 3.


def tfsm_layer() -> dict:
    """Three ways: frozen, fine-tuned with running statistics, and with those of the batch.

    The last one as Keras trains, the others eagerly: what was loaded is a graph in any case.
    """
    import keras

    def model_of(**settings):
        layer = keras.layers.TFSMLayer(DIR, call_endpoint="serving_default", **settings)
        inputs = keras.Input((None, None, 3))
        outputs = keras.layers.Dense(CLASSES, kernel_initializer="zeros")(
            layer(inputs)["embedding"]
        )
        return layer, keras.Model(inputs, outputs)

    def path_values(layer) -> dict:
        return {v.path: np.array(v.numpy()) for v in layer.variables}

    def error_of_a_fresh_adam(model) -> str:
        """Keras names the optimizer's variables after ours, which end in `:0`."""
        try:
            fit(model, keras.optimizers.Adam(0.01), epochs=1)
        except ValueError as error:
            return str(error)
        return ""

    def run(layer, model, optimizer, run_eagerly: bool = True) -> dict:
        outputs = layer(IMAGES)
        result = {
            "deviation": max(
                largest(outputs["embedding"], DATA["out/final_avg_pool"]),
                largest(outputs["logits"], DATA["out/logits_sup"]),
            )
        }
        before = path_values(layer)
        model(IMAGES, training=False)
        result["inference_changes"] = count(before, layer)
        optimizer.build(model.trainable_variables)  # outside `fit`, names do not matter
        result["loss"] = fit(model, optimizer, 6 if run_eagerly else 12, run_eagerly)
        moved = {n for n, v in path_values(layer).items() if (v != before[n]).any()}
        ours = encoder_part(before)
        result["trained"] = len(encoder_part(moved - statistics(moved))) / len(
            ours - statistics(ours)
        )
        result["statistics_moved"] = len(statistics(encoder_part(moved))) / len(statistics(ours))
        result["changes"] = len(moved)
        return result

    def count(before, layer) -> int:
        now = path_values(layer)
        return sum(bool((now[name] != before[name]).any()) for name in now)

    frozen, plain = model_of(trainable=False), model_of()
    with_batch_statistics = model_of(call_training_endpoint="training_default")
    return {
        "keras": keras.__version__,
        "error_of_a_fresh_adam": error_of_a_fresh_adam(plain[1]),
        "frozen": run(*frozen, keras.optimizers.Adam(0.05)),
        "fine_tuned": run(*plain, keras.optimizers.Adam(0.01)),
        "fine_tuned_with_batch_statistics": run(
            *with_batch_statistics, keras.optimizers.Adam(0.01), run_eagerly=False
        ),
    }


# The command line of TensorFlow, in this process.


def saved_model_cli() -> dict:
    from tensorflow.python.tools import saved_model_cli as tool

    def call(*words: str) -> str:
        said = io.StringIO()
        sys.argv = ["saved_model_cli", *words]
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            tool.main()
        return said.getvalue()

    model = ("--dir", DIR, "--tag_set", "serve", "--signature_def")
    np.save("images.npy", DATA["images"])
    np.save("files.npy", DATA["files"])
    call("run", *model, "serving_default", "--inputs", "images=images.npy", "--outdir", "a")
    server = [SERVING if word == DIR else word for word in model]
    call("run", *server, "from_bytes", "--inputs", "image_bytes=files.npy", "--outdir", "b")
    shown = call("show", "--dir", SERVING, "--all")
    return {
        "signatures": re.findall(r"signature_def\['(\w+)'\]", shown),
        "inputs": re.findall(r"inputs\['(\w+)'\]", shown),
        "outputs": re.findall(r"outputs\['(\w+)'\]", shown),
        "deviation": max(
            largest(np.load("a/embedding.npy"), DATA["out/final_avg_pool"]),
            largest(np.load("a/logits.npy"), DATA["out/logits_sup"]),
        ),
        "bytes_deviation": largest(np.load("b/embedding.npy"), DATA["bytes/embedding"]),
    }


# What a server does with the body of a request.


def rest() -> dict:
    """`POST /v1/models/encoder:predict` by the rules of TensorFlow Serving's REST interface."""
    signatures = tf.saved_model.load(SERVING).signatures

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *words):
            pass

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(predict(signatures, request)).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

    files = [base64.b64encode(file).decode() for file in DATA["files"]]
    body = {
        "signature_name": "from_bytes",
        "instances": [{"image_bytes": {"b64": file}} for file in files],
    }
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/v1/models/encoder:predict"
        with urllib.request.urlopen(address, json.dumps(body).encode()) as answer:
            predictions = json.load(answer)["predictions"]
        server.shutdown()
    found = [row["embedding"] for row in predictions]
    return {
        "rows": len(predictions),
        "outputs": sorted(predictions[0]),
        "bytes_deviation": largest(found, DATA["bytes/embedding"]),
    }


def predict(signatures, request: dict) -> dict:
    """The row format: instances are stacked by input, `{"b64": ...}` are bytes."""
    signature = signatures[request["signature_name"]]
    rows = request["instances"]
    inputs = {
        name: tf.constant([base64.b64decode(row[name]["b64"]) for row in rows]) for name in rows[0]
    }
    outputs = {name: value.numpy().tolist() for name, value in signature(**inputs).items()}
    return {
        "predictions": [
            dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)
        ]
    }


def converters() -> dict:
    """The plain calls, without options: TFLite's, and tf2onnx' command line where it is there."""
    content = tf.lite.TFLiteConverter.from_saved_model(DIR).convert()
    run = tf.lite.Interpreter(model_content=content).get_signature_runner("serving_default")
    images = DATA["images"]
    result = {"tflite": largest(run(images=images)["embedding"], DATA["out/final_avg_pool"])}
    try:
        import onnxruntime
        import tf2onnx  # noqa: F401
    except ImportError:
        return result
    sys.argv = ["tf2onnx.convert", "--saved-model", DIR, "--output", "x.onnx"]
    runpy.run_module("tf2onnx.convert", run_name="__main__")
    session = onnxruntime.InferenceSession("x.onnx")
    (embedding,) = session.run(["embedding"], {"images": images})
    return {**result, "onnx": largest(embedding, DATA["out/final_avg_pool"])}


def main() -> None:
    results = {}
    for loader in LOADERS:
        try:
            results[loader] = globals()[loader]()
        except Exception:
            results[loader] = {"error": traceback.format_exc()}
    print("\n" + json.dumps(results))


main()

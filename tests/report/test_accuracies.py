from simclr_tf.report import accuracies


def test_in_the_order_of_their_kind_and_k():
    metrics = dict.fromkeys(
        ["eval/knn_200_accuracy", "eval/knn_20_accuracy", "eval/knn_5_accuracy", "eval/other",
         "untrained/knn_20_accuracy", "eval/knn_x_accuracy", "eval/linear_probe_accuracy",
         "eval/label_top_1_accuracy"], 0.5)  # fmt: skip
    assert accuracies.ordered(metrics) == [
        "eval/label_top_1_accuracy", "eval/linear_probe_accuracy", "eval/knn_5_accuracy",
        "eval/knn_20_accuracy", "eval/knn_200_accuracy"]  # fmt: skip


def test_words():
    assert accuracies.title("eval/linear_probe_accuracy").startswith("Logistic regression")
    assert accuracies.title("untrained/knn_20_accuracy") == "kNN, k = 20"
    for name in ("eval/other", "eval/knn_20", "eval/knn_x_accuracy", "accuracy",
                 f"eval/knn_{'9' * 5000}_accuracy"):  # fmt: skip
        assert accuracies.title(name) == name


def test_of_few_classes_there_is_no_top_5():
    metrics = {"eval/label_top_1_accuracy": 0.5, "eval/label_top_5_accuracy": 1.0}
    assert accuracies.ordered(metrics, 5) == ["eval/label_top_1_accuracy"]
    assert accuracies.ordered(metrics, 6) == accuracies.ordered(metrics) == list(metrics)

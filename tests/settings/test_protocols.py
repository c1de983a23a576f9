import pytest

from simclr_tf.errors import InputError
from simclr_tf.settings.protocols import PROTOCOLS, ProtocolConfig


def test_defaults_are_the_papers():
    config = ProtocolConfig()
    assert (config.linear_epochs, config.linear_batch_size) == (90, 4096)  # B.6
    assert config.linear_rates == (0.1,)
    assert config.logreg_values == 45  # B.8
    assert dict(zip(config.fractions, config.epochs, strict=True)) == {"1%": 60, "10%": 30}  # B.5
    assert config.label_learning_rate == 0.05
    assert (config.finetune_steps, config.finetune_batch_size) == (20_000, 256)  # B.8
    rates, decays = config.finetune_rates, config.finetune_decays
    assert len(rates) == 7 and (rates[0], rates[-1]) == (1e-4, 1e-1)
    assert len(decays) == 8 and decays[0] == 0 and (decays[1], decays[-1]) == (1e-6, 1e-3)


def test_all_means_every_protocol_and_the_order_is_fixed():
    assert ProtocolConfig(protocols="all").names == PROTOCOLS
    assert ProtocolConfig(protocols="knn, linear").names == ("linear", "knn")


def test_lists_are_parsed():
    config = ProtocolConfig(knn_neighbors="1, 20,200", transfer_datasets="cifar10,dtd")
    assert config.ks == (1, 20, 200)
    assert config.transfer_names == ("cifar10", "dtd")
    assert ProtocolConfig().transfer_names is None


def test_one_number_of_epochs_serves_all_subsets():
    assert ProtocolConfig(label_fractions="1%,2%,5%", label_epochs="10").epochs == (10,)
    same = ProtocolConfig(label_fractions="1%,10%", label_epochs="10,10")
    assert same.epochs == (10, 10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("protocols", "linear,lineer"),
        ("protocols", ""),
        ("protocols", "knn,knn"),
        ("endpoint", ""),
        ("validation_fraction", 0),
        ("validation_fraction", 0.6),
        ("linear_learning_rates", "0.1,x"),
        ("linear_learning_rates", "0"),
        ("linear_learning_rates", "nan"),
        ("linear_optimizer", "adam"),
        ("linear_epochs", 0),
        ("linear_epochs", float("inf")),
        ("linear_batch_size", 0),
        ("knn_neighbors", "0"),
        ("knn_neighbors", "1.5"),
        ("knn_neighbors", ","),
        ("knn_temperature", 0),
        ("logreg_values", 0),
        ("label_epochs", "1,2,3"),
        ("label_epochs", "x"),
        ("label_epochs", "-1"),
        ("finetune_weight_decays", "-1"),
        ("finetune_after_block", 5),
        ("distill_width", 0),
        ("map_points", -1),
    ],
)
def test_bad_values_are_named(name, value):
    with pytest.raises(InputError) as error:
        ProtocolConfig(**{name: value})
    assert error.value.name == name

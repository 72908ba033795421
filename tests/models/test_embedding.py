import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.compress import quantize
from ppcls_light.errors import ConfigError
from ppcls_light.models import create_model
from ppcls_light.models.embedding import classifier, logits_and_embeddings


def logits_of(network, name, embeddings):
    """Return the logits that numpy makes of embeddings (N, D) with the last layers of `network`."""
    head = classifier(network)
    logits = embeddings @ head.weight.numpy() + head.bias.numpy()
    if name.startswith("MicroNet"):
        norm = network.classifier[2].linear[1]
        mean, variance, scale, shift = (
            getattr(norm, key).numpy() for key in ("_mean", "_variance", "weight", "bias")
        )
        logits = (logits - mean) / np.sqrt(variance + norm._epsilon) * scale + shift
        logits = logits * np.clip(logits + 3, 0, 6) / 6
    return logits


@pytest.mark.parametrize(
    ("name", "size"),
    [("PPLCNet_x0_25", 1280), ("FasterNet_T0", 1280), ("MicroNet_M0", 640), ("EdgeNeXt_XX_Small", 168)],
)
def test_an_embedding_is_what_the_classifier_makes_the_logits_of(name, size):
    paddle.seed(0)
    network = create_model(name, class_num=5)
    network.eval()
    images = paddle.randn([2, 3, 32, 32])
    with paddle.no_grad():
        logits, embeddings = logits_and_embeddings(network, images)
        assert embeddings.shape == [2, size]
        np.testing.assert_array_equal(logits.numpy(), network(images).numpy())  # and no hook is left
    np.testing.assert_allclose(logits_of(network, name, embeddings.numpy()), logits.numpy(), atol=1e-5)


def test_fake_quantized_layers_have_embeddings_too():
    network = quantize(create_model("PPLCNet_x0_25", class_num=5))
    assert classifier(network) is network.fc


def test_of_a_network_without_head_keys_the_last_linear_layer_counts():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 3))
    assert classifier(network) is network[3]
    with pytest.raises(
        ConfigError, match=r"Sequential ends in no linear layer.*export it without embeddings"
    ):
        classifier(nn.Sequential(nn.Conv2D(3, 4, 1)))

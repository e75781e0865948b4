"""A whole method: the loss of the labels, and confident answers on unlabeled pictures (entropy minimisation)."""

from dataclasses import dataclass

from scl_core.distributed import global_mean
from scl_core.methods.base import Method
from scl_core.settings import setting


@dataclass
class EntropyConfig:
    name: str = setting("entropy", "The method.")
    entropy_weight: float = setting(0.1, "Weight of the mean entropy of the unlabeled pixels.", low=0.0)


class Entropy(Method):
    """Cross entropy on the labeled pictures, and low entropy on the unlabeled ones (Grandvalet and Bengio 2004)."""

    config_class = EntropyConfig
    num_strong = 1

    def forward(self, batch, draws):
        """The terms `supervised` and `entropy`."""
        views = batch.unlabeled_a
        log_probs = self.student(views.weak).logits.log_softmax(1)
        entropy = -(log_probs.exp() * log_probs).sum(1)[views.valid]
        supervised = self.supervised_loss(self.student(batch.images).logits, batch.labels, window=1)
        return {"supervised": supervised, "entropy": global_mean(entropy.sum(), views.valid.sum())}

    def weights(self, step):
        """Both from the first step on."""
        return {"supervised": 1.0, "entropy": self.config.entropy_weight}

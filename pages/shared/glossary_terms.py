"""The words of the app: each with its equation, and where in the library it is computed or set."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A word, what it means, its equation in LaTeX, and where it is: dotted functions, settings, an address of the app.

    Equation numbers are those of Kim, Jang, Park 2020.
    """

    name: str
    meaning: str
    equation: str = ""
    functions: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    page: str = ""

    def matches(self, words: str) -> bool:
        """Whether all of these words are somewhere in the entry, its equation's number included."""
        text = " ".join((self.name, self.meaning, self.equation, *self.functions, *self.settings)).lower()
        return all(word in text for word in words.lower().split())


TERMS = (
    Term(
        "student",
        "The network that is trained by gradient steps. It sees labeled pictures and mixes of unlabeled ones.",
        r"\theta^s \leftarrow \theta^s - \eta\,\nabla_{\theta^s}\mathcal L",
        ("scl_core.methods.scl.Scl",),
        ("model.encoder", "train.learning_rate"),
        "lesson?lesson=5",
    ),
    Term(
        "teacher",
        "The average of the students of the last steps. No gradient reaches it; its answers are the targets on "
        "unlabeled pictures, and it is the network that counts for scores.",
        r"\theta^t \leftarrow d\,\theta^t + (1 - d)\,\theta^s",
        ("scl_core.ema.EmaTeacher",),
        ("method.ema_decay", "method.ema_warmup", "method.ema_time", "method.teacher"),
        "lesson?lesson=2",
    ),
    Term(
        "time constant of the teacher",
        "After so many steps an average has lost two thirds of its distance. Where it is as long as the run, the "
        "teacher is stale: it still holds its first weights.",
        r"\tau = \frac{1}{1 - d}",
        ("scl_core.methods.teacher.decay_of",),
        ("method.ema_decay", "method.ema_time"),
        "health",
    ),
    Term(
        "batch norm of the teacher",
        "Running means and variances are buffers, not weights: they can be averaged too, copied from the student, "
        "estimated anew on training pictures, or moved by passes of the teacher itself. Those of a slow average fit no "
        "network that ever was.",
        r"\hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}",
        ("scl_core.training.recalibration.recalibrate", "scl_core.ema.EmaTeacher.take_buffers"),
        ("method.teacher_bn",),
        "health",
    ),
    Term(
        "supervised loss",
        "Cross entropy between the student's probabilities and the mask, over the labeled pixels.",
        r"\mathcal L_s = -\frac1n\sum_i \log \sum_{c\in\mathcal N_w(i)} p^s_i(c)\quad\text{(eq. 2)}",
        ("scl_core.losses.relaxed_cross_entropy",),
        ("method.relaxation_window",),
        "lesson?lesson=1",
    ),
    Term(
        "label relaxation",
        "Within a window around a border any of the classes there is right. A window of 1 is plain cross entropy.",
        r"\mathcal N_w(i) = \{y_j : \lVert i - j\rVert_\infty \le (w - 1)/2\}",
        ("scl_core.losses.supervised.allowed_classes",),
        ("method.relaxation_window", "method.relaxation_strict_classes", "method.relaxation_until"),
        "pairs",
    ),
    Term(
        "CutMix",
        "Boxes of picture b pasted over picture a; a later box hides part of the earlier ones.",
        r"x = M\odot b + (1 - M)\odot a",
        ("scl_core.cutmix.sample_boxes", "scl_core.cutmix.cutmix"),
        ("method.num_boxes", "method.total_area", "method.area_mode"),
        "cutmix",
    ),
    Term(
        "owner map",
        "Which box each pixel shows: the last one pasted there, -1 outside. Mix, occlusion and loss follow from it.",
        r"o_i = \max\{n : i\in\text{box}_n\},\quad T_n = \{i : o_i = n\}",
        ("scl_core.cutmix.box_owner",),
        ("method.num_boxes",),
        "cutmix",
    ),
    Term(
        "loss box",
        "One of the last boxes pasted, which alone have a structured loss; the earlier ones only mix.",
        r"n > N - N_{box}",
        ("scl_core.structured_form.loss_boxes",),
        ("method.num_loss_boxes",),
        "cutmix",
    ),
    Term(
        "consistency loss",
        "The student on the mix shall give each pixel the probabilities that the teacher gave on the whole picture.",
        r"\mathcal L_c = \frac1n\sum_i\lVert p^s_i - p^t_i\rVert^2\quad\text{(eq. 4)}",
        ("scl_core.losses.consistency_loss",),
        ("method.consistency_weight", "method.consistency_region"),
        "lesson?lesson=6",
    ),
    Term(
        "similarity",
        "How alike two pixels are to a network: the cosine between their probabilities.",
        r"a_{ij} = \frac{p_i\cdot p_j}{\lVert p_i\rVert\lVert p_j\rVert}\quad\text{(eq. 5, 7)}",
        ("scl_core.losses.structured.cosine_similarity_matrix",),
        ("method.structured_on", "method.structured_teacher"),
        "similarity",
    ),
    Term(
        "structured consistency loss",
        "Every two pixels of a box shall be as alike for the student as for the teacher; the mean over all pairs, "
        "exactly, and the sum or mean over boxes.",
        r"\mathcal L_{sc} = \sum_n\frac{1}{|T_n|^2}\sum_{i,j\in T_n}(a^s_{ij} - a^t_{ij})^2\quad\text{(eq. 6, 8)}",
        ("scl_core.losses.structured_consistency_loss",),
        ("method.structured_weight", "method.box_reduction", "method.structured_region"),
        "similarity",
    ),
    Term(
        "drawn pairs",
        "The paper's estimate: some pairs of each box at random, in place of all of them.",
        r"\frac{1}{N_{pair}}\sum_{k=1}^{N_{pair}}(a^s_{i_kj_k} - a^t_{i_kj_k})^2\quad\text{(eq. 9, 10)}",
        ("scl_core.losses.structured.draw_pairs",),
        ("method.max_pairs",),
        "pairs",
    ),
    Term(
        "total loss",
        "The weighted sum of the terms; the weights of the unlabeled ones rise over the ramp.",
        r"\mathcal L = \mathcal L_s + \lambda_c\mathcal L_c + \lambda_{sc}\mathcal L_{sc}\quad\text{(eq. 1, 3)}",
        ("scl_core.train.weighted_sum",),
        ("method.consistency_weight", "method.structured_weight"),
        "playground",
    ),
    Term(
        "start and ramp",
        "The share of the steps on labels alone, and that over which the unlabeled weights then rise.",
        r"\lambda(k) = \lambda\cdot f(k),\quad f: 0 \to 1",
        ("scl_core.schedule.unlabeled_factor",),
        ("method.start", "method.ramp"),
        "playground",
    ),
    Term(
        "confidence",
        "The largest probability of a pixel. Where nearly all are near 1, predictions are saturated: similarities are "
        "0 or 1, and their gradient vanishes.",
        r"\max_c p_i(c)",
        ("scl_core.losses.confidence.soft_consistency_sum",),
        ("method.confidence", "method.confidence_threshold"),
        "health",
    ),
    Term(
        "temperature",
        "Divides the logits before the softmax. Above 1 it undoes saturation, below 1 it sharpens.",
        r"p = \mathrm{softmax}(z / T)",
        ("scl_core.losses.structured_family.soften",),
        ("method.structured_temperature",),
        "playground",
    ),
    Term(
        "gradient of a term",
        "How strongly one weighted term of the loss pulls at the student's weights (its norm), and whether with or "
        "against the labels (its cosine with the supervised gradient).",
        r"g_k = \lambda_k\nabla_{\theta^s}\mathcal L_k,\quad \cos(g_k, g_s)",
        ("scl_core.training.gauges.gradient_terms",),
        ("train.gradient_terms_every",),
        "health",
    ),
    Term(
        "effective number of classes",
        "How many equally frequent classes would be as varied: the exponential of the entropy of their shares.",
        r"\exp\Big(-\sum_c q_c\log q_c\Big)",
        ("scl_core.metrics.effective_classes",),
        ("train.watch_every",),
        "health",
    ),
    Term(
        "mIoU",
        "The mean over the classes of intersection over union, from one confusion matrix of the whole list; a class "
        "that neither labels nor predictions have does not count.",
        r"\frac1C\sum_c\frac{TP_c}{TP_c + FP_c + FN_c}",
        ("scl_core.metrics.mean_iou", "scl_core.metrics.per_class_iou"),
        (),
        "compare",
    ),
    Term(
        "leak",
        "A picture that is trained on and scored on. Equal files are refused or warned of; copies under another name, "
        "saved anew, are found by what they show.",
        "",
        ("scl_core.data.leaks.leak_words", "scl_core.microscope.health.shared_pictures"),
        ("data.name",),
        "health",
    ),
    Term(
        "logits and probabilities",
        "What the network gives for each class before and after the softmax.",
        r"p(c) = \frac{e^{z_c}}{\sum_k e^{z_k}}",
        ("scl_core.models.build_segmenter",),
        ("model.encoder",),
        "lesson?lesson=1",
    ),
)

"""What each form of the structured loss pulls at: one picture of heat maps, from two drawn scenes and no training.

python -m experiments.forms [--out docs/pictures/forms.png]
Both networks are made up from the labels: the teacher's map a little blurred, the student's much, with one part of it
turned half to another class; features are a projection of the logits at half the size, and the foreign teacher sees
colors alone. Each heat map is the norm of the loss's gradient by the student's logits, at most 1.
"""

import argparse
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch
from PIL import Image
from plotly.subplots import make_subplots
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, one_hot

from scl_core.cutmix import box_owner, cutmix, sample_boxes
from scl_core.data.generated import ScenesConfig
from scl_core.data.images import normalise
from scl_core.losses.structured import sum_of_boxes
from scl_core.methods.scl import SclConfig
from scl_core.methods.structure import mix_cells
from scl_core.models.frozen import frozen_features
from scl_core.structured_form import Seen, compare, find_regions, form_of, value_per_region

HEIGHT, WIDTH, BOXES, COLUMNS = 96, 144, 6, 3
FORMS = {
    "boxes (eq. 8)": {},
    "whole (eq. 6)": {"structured_region": "whole"},
    "random": {"structured_region": "random"},
    "window, radius 8": {"structured_region": "window", "structured_radius": 8},
    "boxes, pixel_cosine": {"structured_form": "pixel_cosine"},
    "whole, logits": {"structured_region": "whole", "structured_on": "logits"},
    "whole, temperature 3": {"structured_region": "whole", "structured_temperature": 3.0},
    "whole, class_area": {"structured_region": "whole", "structured_pair_weights": "class_area"},
    "whole, centred": {"structured_region": "whole", "structured_centred": True},
    "whole, confidence": {"structured_region": "whole", "structured_pair_weights": "confidence"},
    "whole, pairs with signs x 50": {"structured_region": "whole", "structured_class_pairs": "5-*=50"},
    "whole, features": {"structured_region": "whole", "structured_on": "features"},
    "whole, features, colors teach": {
        "structured_region": "whole",
        "structured_on": "features",
        "structured_teacher": "experiments.forms:colors",
    },
}


class Colors(nn.Module):
    """Bright and dark of each color at half the size, six channels: something to teach structure by."""

    def forward(self, pictures: Tensor) -> Tensor:
        return avg_pool2d(torch.cat([pictures.relu(), (-pictures).relu()], 1), 2)


def colors() -> nn.Module:
    """The network that `structured_teacher` names here."""
    return Colors()


def mixed_scenes(seed: int = 3) -> tuple[np.ndarray, Tensor, Tensor, Tensor, Tensor]:
    """A mix of two scenes: picture uint8 [H, W, 3]; student and teacher logits [1, C, H, W]; owner [1, H, W].

    Last the two pictures as networks take them, [2, 3, H, W].
    """
    source = ScenesConfig(height=HEIGHT, width=WIDTH, labeled=2, unlabeled=0, val=1, test=1).open()
    classes, scenes = len(source.class_names), source.lists["labeled"]
    pictures, labels = (np.stack([part(i) for i in (0, 1)]) for part in (scenes.image, scenes.label))
    draw = torch.Generator().manual_seed(seed)
    owner = box_owner(sample_boxes(HEIGHT, WIDTH, BOXES, generator=draw), HEIGHT, WIDTH)
    truth = one_hot(torch.from_numpy(labels.astype(np.int64)).clamp(max=classes - 1), classes)
    sharp = truth.movedim(-1, 1).float()
    teacher = cutmix(*blurred(5 * sharp, 3).split(1), owner)
    student = blurred(4 * cutmix(*sharp.split(1), owner), 9)
    third = slice(WIDTH // 3, 2 * WIDTH // 3)
    student[..., third] = student[..., third].roll(1, 1) * 0.5 + student[..., third] * 0.5
    mixed = cutmix(*torch.from_numpy(pictures).movedim(-1, 1).split(1), owner)
    inputs = torch.stack([normalise(picture) for picture in pictures])
    return mixed[0].movedim(0, -1).numpy(), student, teacher, owner[None], inputs


def blurred(maps: Tensor, side: int) -> Tensor:
    return avg_pool2d(maps, side, 1, side // 2, count_include_pad=False)


def seen(logits: Tensor) -> Seen:
    """Probabilities, and features made up from the logits: eight projections at half the size, none negative."""
    projection = torch.randn(8, logits.shape[1], generator=torch.Generator().manual_seed(0))
    return Seen(logits.softmax(1), torch.einsum("dc,bchw->bdhw", projection, avg_pool2d(logits, 2)).relu())


def pulls(changes: dict, student: Tensor, teacher: Tensor, owner: Tensor, pictures: Tensor) -> np.ndarray:
    """How strongly the form with these settings pulls at each pixel, float [H, W] from 0 to 1."""
    settings = SclConfig(num_boxes=BOXES, **changes)
    form, target = form_of(settings), seen(teacher)
    if form.teacher:
        halves = frozen_features(form.teacher, form.teacher_weights, pictures).chunk(2)
        target = target._replace(features=mix_cells(*halves, owner))
    logits, valid = student.clone().requires_grad_(), torch.ones_like(owner, dtype=torch.bool)
    compared = compare(seen(logits), target, owner, valid, form)
    regions = find_regions(compared.owner, compared.valid, settings, [torch.Generator().manual_seed(0)])
    (gradient,) = torch.autograd.grad(sum_of_boxes(value_per_region(compared, regions, form), "mean")[0], logits)
    norms = gradient[0].norm(dim=0).numpy()
    return np.clip(norms / np.quantile(norms, 0.995), 0, 1)


def forms_figure(picture: np.ndarray, maps: dict[str, np.ndarray]) -> go.Figure:
    """The mix `picture` uint8 [H, W, 3], and one heat map per form."""
    rows = -(-(len(maps) + 1) // COLUMNS)
    figure = make_subplots(rows, COLUMNS, subplot_titles=["the mix", *maps], vertical_spacing=0.07)
    figure.add_image(z=picture, row=1, col=1)
    for place, values in enumerate(maps.values(), start=1):
        row, column = place // COLUMNS + 1, place % COLUMNS + 1
        figure.add_heatmap(z=values, coloraxis="coloraxis", row=row, col=column)
    figure.update_xaxes(visible=False).update_yaxes(visible=False, autorange="reversed")
    figure.update_layout(
        height=20 + 215 * rows,
        margin={"l": 6, "r": 6, "t": 30, "b": 6},
        coloraxis={"colorscale": "Cividis", "cmin": 0, "cmax": 1, "colorbar": {"title": "pull", "thickness": 12}},
    )
    return figure


def main(arguments: list[str] | None = None) -> None:
    from experiments.picture import save_picture  # here, because it wants a browser

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/forms.png"))
    options = parser.parse_args(arguments)
    picture, *maps = mixed_scenes()
    save_picture(forms_figure(picture, {name: pulls(changes, *maps) for name, changes in FORMS.items()}), options.out)
    Image.open(options.out).convert("RGB").quantize(128).save(options.out, optimize=True)


if __name__ == "__main__":
    main()

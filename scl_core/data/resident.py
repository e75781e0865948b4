"""Training pictures that stay on the device: each travels once, and every view of it is made there.

A recipe says what to read and how to change it; it is made ahead on the CPU, as batches are elsewhere, and carries the
pictures that are not on the device yet. Nothing on the way asks the device for a number.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scl_core.data.augment import Geometry, Photometric, draw_geometry, draw_labeled_change, draw_strong_changes
from scl_core.data.batch import Batch, Movable, Views
from scl_core.data.device_views import ClassCuts, Colors, Cuts, Finish, plan_classes, plan_colors, plan_cuts
from scl_core.data.pictures import PictureList
from scl_core.data.steps import TrainingSteps, naming
from scl_core.seeding import generator_for


@dataclass
class Arrival(Movable):
    """A picture, uint8 [P, 3], or a mask, [P], on its way to the device, and where it will start there."""

    start: int
    values: Tensor


@dataclass
class LabeledRecipe(Movable):
    """How a batch's labeled pictures are made."""

    cuts: Cuts
    classes: ClassCuts
    colors: Colors | None
    names: tuple[str, ...]


@dataclass
class ViewsRecipe(Movable):
    """How the views of unlabeled pictures are made, the colors of each strong view apart."""

    cuts: Cuts
    colors: tuple[Colors, ...]
    names: tuple[str, ...]
    teacher_sees_the_same: bool


@dataclass
class Recipe(Movable):
    """How one rank's batch of a step is made of the pictures on the device."""

    arrivals: tuple[Arrival, ...]
    labeled: LabeledRecipe
    unlabeled_a: ViewsRecipe | None
    unlabeled_b: ViewsRecipe | None
    positions: tuple[int, ...]
    label_positions: tuple[int, ...]


@dataclass
class Shelf:
    """The host's account of where things are on the device, one behind the other; pixels and classes have one each."""

    end: int = 0
    starts: dict[tuple, int] = field(default_factory=dict)
    arrivals: list[Arrival] = field(default_factory=list)

    def start_of(self, key: tuple, array) -> int:
        """Where the pixels of uint8 [H, W, ...] start; what is not there yet is sent with the recipe."""
        if key not in self.starts:
            height, width, *channels = array.shape
            values = torch.tensor(array).view(height * width, *channels)
            self.starts[key], self.end = self.end, self.end + len(values)
            self.arrivals.append(Arrival(self.starts[key], values))
        return self.starts[key]

    def take_arrivals(self) -> list[Arrival]:
        """What is to be sent, once."""
        arrivals, self.arrivals = self.arrivals, []
        return arrivals


@dataclass(frozen=True)
class ResidentSteps(TrainingSteps):
    """Item k is the recipe of this rank's batch of step `first_step` + k; items are asked for in order, from the first.

    The draws are those of `TrainingSteps`, one by one.
    """

    pixels: Shelf = field(default_factory=Shelf)
    classes: Shelf = field(default_factory=Shelf)

    def start_anew(self) -> None:
        """Forget what is on the device."""
        for shelf in (self.pixels, self.classes):
            shelf.__init__()

    def batch(self, step: int) -> Recipe:
        """Make the recipe of `step`; raises UserError naming the file that cannot be used."""
        labeled = self._labeled_recipe(step)
        first, second = self._pairs(step) if self.positions else (None, None)
        arrivals = (*self.pixels.take_arrivals(), *self.classes.take_arrivals())
        return Recipe(arrivals, labeled, first, second, tuple(self.positions), tuple(self.label_positions))

    def _labeled_recipe(self, step: int) -> LabeledRecipe:
        chosen = [self._choice(step, position) for position in self.label_positions]
        geometries, sizes, changes = [], [], []
        for position, (pictures, index, focus) in zip(self.label_positions, chosen, strict=True):
            generator = generator_for(self.seed, step, position, "labeled")
            with naming(pictures, index, step):
                sizes.append(pictures.input(index).shape[:2])
                geometries.append(draw_geometry(self.augment, sizes[-1], self.crop, generator, focus))
                changes.append(draw_labeled_change(self.augment, generator))
        starts = [self._picture(pictures, index, step) for pictures, index, _ in chosen]
        masks = [self._mask(pictures, index, step) for pictures, index, _ in chosen]
        return LabeledRecipe(
            plan_cuts(geometries, sizes, starts),
            plan_classes(geometries, sizes, masks),
            plan_colors(changes) if self.augment.photometric_labeled else None,
            tuple(pictures.names[index] for pictures, index, _ in chosen),
        )

    def _views(self, step: int, indices: tuple[int, ...], stream: str) -> ViewsRecipe:
        drawn = [self._draws(step, *place, stream) for place in zip(self.positions, indices, strict=True)]
        sizes, geometries, changes = zip(*drawn, strict=True)
        starts = [self._picture(self.unlabeled, index, step) for index in indices]
        return ViewsRecipe(
            plan_cuts(geometries, sizes, starts),
            tuple(plan_colors(view) for view in zip(*changes, strict=True)),
            tuple(self.unlabeled.names[index] for index in indices),
            self.augment.teacher_photometric == "same" and self.num_strong > 0,
        )

    def _draws(
        self, step: int, position: int, index: int, stream: str
    ) -> tuple[tuple[int, int], Geometry, list[Photometric]]:
        generator = generator_for(self.seed, step, position, stream)
        with naming(self.unlabeled, index, step):
            size = self.unlabeled.input(index).shape[:2]
            geometry = draw_geometry(self.augment, size, self.crop, generator)
            return size, geometry, draw_strong_changes(self.augment, generator, self.num_strong)

    def _picture(self, pictures: PictureList, index: int, step: int) -> int:
        with naming(pictures, index, step):
            return self.pixels.start_of((pictures.place(index),), pictures.input(index))

    def _mask(self, pictures: PictureList, index: int, step: int) -> int:
        with naming(pictures, index, step):
            return self.classes.start_of((pictures.place(index), pictures.lines[index]), pictures.label(index))


class ResidentPictures:
    """All pixels and classes that are on the device, one behind the other, and what is made of them there."""

    def __init__(self, pixels: int, classes: int, device: torch.device):
        """`pixels`, `classes`: how many are expected; there may come more."""
        self.pixels = torch.empty(pixels, 3, dtype=torch.uint8, device=device)
        self.classes = torch.empty(classes, dtype=torch.uint8, device=device)
        self.finish = Finish(device)

    def batch(self, recipe: Recipe) -> Batch:
        """Make the batch of a recipe that is on the device."""
        for arrival in recipe.arrivals:
            self._put(arrival)
        labeled = recipe.labeled
        crops, inside = labeled.cuts.read(self.pixels), labeled.cuts.inside()
        crops = crops if labeled.colors is None else labeled.colors.apply(crops, labeled.cuts)
        first, second = (
            None if views is None else self._views(views) for views in (recipe.unlabeled_a, recipe.unlabeled_b)
        )
        return Batch(
            self.finish(crops, inside),
            labeled.classes.read(self.classes, inside),
            labeled.names,
            first,
            second,
            recipe.positions,
            recipe.label_positions,
        )

    def _views(self, recipe: ViewsRecipe) -> Views:
        crops, inside = recipe.cuts.read(self.pixels), recipe.cuts.inside()
        strong = tuple(self.finish(colors.apply(crops, recipe.cuts), inside) for colors in recipe.colors)
        weak = strong[0].clone() if recipe.teacher_sees_the_same else self.finish(crops, inside)
        return Views(weak, strong, inside, recipe.names)

    def _put(self, arrival: Arrival) -> None:
        name = "pixels" if arrival.values.dim() == 2 else "classes"
        store, end = getattr(self, name), arrival.start + len(arrival.values)
        if end > len(store):  # pictures of their own sizes, larger than the first
            store = torch.cat([store, store.new_empty(max(end - len(store), len(store) // 2), *store.shape[1:])])
            setattr(self, name, store)
        store[arrival.start : end] = arrival.values


class ResidentLoader:
    """Iterates over the batches of the recipes in order, each made on the device; each iteration starts anew."""

    def __init__(self, steps: ResidentSteps, recipes: Iterable[Recipe], expected: tuple[int, int], device):
        """`recipes` iterates over the items of `steps`; `expected`: pixels and classes of all pictures."""
        self._steps, self._recipes, self._expected, self._device = steps, recipes, expected, device

    def __len__(self) -> int:
        return len(self._recipes)

    def __iter__(self) -> Iterator[Batch]:
        self._steps.start_anew()
        pictures = ResidentPictures(*self._expected, self._device)
        for recipe in self._recipes:
            yield pictures.batch(recipe.to(self._device))

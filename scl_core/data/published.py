"""What data sets in their published layout share: pools of pictures by name, and the forms of public label lists.

A line of a list leads to its picture by the file's name alone, so that "picture mask" in any folder (UniMatch, CPS),
the picture's path (U2PL on Cityscapes) and the bare name (CPS and U2PL on VOC) all give the same picture and mask.
"""

from dataclasses import dataclass
from pathlib import Path

from scl_core.data.files import FileSettings
from scl_core.data.lists import Entry, read_list
from scl_core.errors import UserError
from scl_core.settings import setting


class PublishedTree:
    """A data set as published, under `root`: a subclass says which pools it has and how a line leads to a picture."""

    pool_names: tuple[str, ...] = ()
    unlabeled_pools: tuple[str, ...] = ()  # where unlabeled pictures come from, in this order

    def __init__(self, root: Path):
        self.root = root

    def pool(self, name: str) -> list[Entry]:
        """All pictures of a pool, each with its mask where there is one; empty where the tree has none."""
        raise NotImplementedError

    def where(self, name: str) -> str:
        """Where a pool is looked for, for messages."""
        raise NotImplementedError

    def find(self, entry: Entry) -> Entry:
        """The picture and mask that a line of a list means; UserError naming list and line when it is not there."""
        raise NotImplementedError

    def read(self, path: Path) -> list[Entry]:
        """The pictures of a list file, in its order."""
        return [self.find(entry) for entry in read_list(path)]

    def rest(self, used: list[Entry]) -> list[Entry]:
        """The pictures not in `used` of the first of `unlabeled_pools` that has any."""
        taken = {entry.image for entry in used}
        for name in self.unlabeled_pools:
            left = [entry for entry in self.pool(name) if entry.image not in taken]
            if left:
                return left
        return []


@dataclass
class PublishedSettings(FileSettings):
    """Lists of a data set in its published layout: pools by name, or public list files as they are."""

    labeled: str = setting("train", "Labeled pictures: train, a list file, or a folder with a labeled.txt.")
    unlabeled: str | None = setting(
        None, "Unlabeled pictures: a pool or list file; none: the list beside the labeled one, or all others."
    )
    val: str | None = setting(None, "List file of validation pictures; none: the set's own.")
    test: str | None = setting(None, "List file of test pictures with masks; none: there is no test list.")

    def entries(self, tree: PublishedTree) -> dict[str, list[Entry]]:
        """The entries of all lists. Raises UserError for a name that is neither a pool nor a list file."""
        labeled_file = self._file(tree, "labeled", self.labeled)
        labeled = self._listed(tree, "labeled", self.labeled)
        val = self._listed(tree, "val", self.val or "val")
        test = self._listed(tree, "test", self.test) if self.test else []
        unlabeled = self._unlabeled(tree, labeled_file, labeled + val + test)
        lists = {"labeled": labeled, "unlabeled": unlabeled, "val": val, "test": test}
        for name in ("labeled", "val", "test"):
            self._require_masks(tree, name, lists[name])
        return lists

    def _unlabeled(self, tree: PublishedTree, labeled_file: Path | None, used: list[Entry]) -> list[Entry]:
        if self.unlabeled:
            chosen = self._listed(tree, "unlabeled", self.unlabeled)
            is_pool = self.unlabeled in tree.pool_names
            taken = {entry.image for entry in used} if is_pool else set()
            return [entry for entry in chosen if entry.image not in taken]
        if labeled_file:
            beside = labeled_file.with_name(labeled_file.name.replace("labeled", "unlabeled"))
            if beside != labeled_file and beside.is_file():
                return tree.read(beside)
        return tree.rest(used)

    def _listed(self, tree: PublishedTree, name: str, given: str) -> list[Entry]:
        file = self._file(tree, name, given)
        listed = tree.read(file) if file else tree.pool(given)
        if not listed:
            raise UserError(f"data.{name}: the set has no '{given}' here, looked for {tree.where(given)}")
        return listed

    def _file(self, tree: PublishedTree, name: str, given: str) -> Path | None:
        """The list file that a setting names, seen from the root or from here; None when it names a pool."""
        if given in tree.pool_names:
            return None
        for path in (tree.root / given, Path(given)):
            for file in (path, path / f"{name}.txt"):
                if file.is_file():
                    return file
        raise UserError(
            f"data.{name}: '{given}' is neither {', '.join(tree.pool_names)} nor a list file, nor a folder with a "
            f"{name}.txt, here or in {tree.root}"
        )

    def _require_masks(self, tree: PublishedTree, name: str, listed: list[Entry]) -> None:
        for entry in listed:
            if entry.mask is None:
                where = f"{entry.origin}: " if entry.origin else ""
                raise UserError(f"{where}there is no mask for {entry.image} in {tree.root}: {name} pictures need one")

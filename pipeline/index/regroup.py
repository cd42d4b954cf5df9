"""Groups from a file (pipeline.tables.grouping) in place of the folders of a collection."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from pipeline.index.rejects import make_reject
from pipeline.index.walk import Entry, Group


def regroup(groups: Iterable[Group], grouping: Mapping[str, str | None], file: str) -> Iterator[Group]:
    """The images of `groups` in the groups of `grouping`, by path, in the order of their names.

    Images that are unsorted or not in `grouping`, and its photographs that are not in the collection, are rejects.
    `file` names where `grouping` is from. An image whose name is not unique in its new group is named after its path.
    """
    rest, members = Group("", ""), dict[str, list[Entry]]()
    seen: set[str] = set()
    for group in groups:
        if group.excluded:
            yield group
            continue
        rest.rejects += group.rejects
        rest.hidden += group.hidden
        for entry in group.entries:
            seen.add(entry.image)
            found = grouping.get(entry.image)
            if found is None:
                reason = f"is unsorted in {file}" if entry.image in grouping else f"is not in {file}"
                rest.rejects.append(make_reject(entry.image, entry.group, reason))
            else:
                members.setdefault(found, []).append(entry)
    rest.rejects += [
        make_reject(photo, found or "", f"is in {file}, but is no image of the collection or left out")
        for photo, found in grouping.items()
        if photo not in seen
    ]
    for name in sorted(members):
        yield Group(name, file, sorted(_rename(name, members[name]), key=lambda entry: entry.name))
    yield rest


def _rename(group: str, entries: list[Entry]) -> Iterator[Entry]:
    counts = Counter(entry.name for entry in entries)
    taken = {name for name, count in counts.items() if count == 1}
    for entry in sorted(entries, key=lambda entry: entry.image):
        name = entry.name
        if counts[name] > 1:
            name = "-".join(PurePosixPath(entry.image).with_suffix("").parts)
            while name in taken:
                name += "-"
            taken.add(name)
        yield replace(entry, group=group, name=name)

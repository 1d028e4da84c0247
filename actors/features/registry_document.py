"""The registry as Markdown: what a reader wants to know of every input."""

from collections.abc import Iterable

from actors.features.aggregation import AggregateGroup
from actors.features.families import Column, Family, Place
from actors.features.inputs import Level, Schema, Sort
from actors.ranker_inputs.aggregates import groups_of

_HEAD = """# Inputs of the heavy ranker

Made by `python -m actors.features.registry`; a test compares. What each selection has:

{counts}

Continuous inputs enter as sign·ln(1 + |x|), normalised and clipped; binary ones as they are;
discrete ones as rows of tables, into which values are hashed; vectors after a LayerNorm. Values
travel by level: those of the viewer and the request once, those of an author and of the tie to
the viewer once an author, those of a post for each candidate.

A `✓` stands for an input that `laptop` has, too. What a shard does not tell has the default.
"""
_AGGREGATES = """## Aggregates

Decayed counters, one slot `{group}.pair.{label}.{feature}.{half-life}.{metric}` for every
combination; of the batch groups of the viewer `twitter` has as many, in this order, as make
2,117 continuous inputs. A group merged over several keys has its merges' names behind.
"""


def document(
    schemas: dict[str, Schema], families: Iterable[Family], chosen: dict[str, tuple[Family, ...]]
) -> str:
    """The document, of the schemas and families of both selections and of all `families`."""
    on_laptop = {column.name for family in chosen["laptop"] for column in family.columns}
    parts = [_HEAD.format(counts=_counts(schemas))]
    parts += [_section(family, on_laptop) for family in families]
    parts += [_AGGREGATES, _aggregates(chosen), "", "## Discrete inputs and vectors", ""]
    parts.append(_discrete(schemas))
    return "\n".join(parts)


def _counts(schemas: dict[str, Schema]) -> str:
    rows = [
        "| Selection | Continuous | Binary | Discrete | Vectors | Viewer | Author | Post |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, schema in schemas.items():
        vectors = " + ".join(str(vector.dimensions) for vector in schema.embeddings)
        sizes = (len(schema.continuous), len(schema.binary), len(schema.discrete))
        counts = [f"{n:,}" for n in (*sizes, *(schema.width(level) for level in Level))]
        rows.append(f"| {' | '.join([name, *counts[:3], vectors, *counts[3:]])} |")
    return "\n".join(rows)


def _section(family: Family, on_laptop: set[str]) -> str:
    rows = [
        f"## {family.name.replace('_', ' ').capitalize()}",
        "",
        f"Group *{family.group}*, level {family.level.name.lower()}; told by {family.place.value}.",
        "",
        "| Input | Sort | Laptop | Default | Meaning |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*rows, *(_row(c, on_laptop) for c in family.columns), ""])


def _row(column: Column, on_laptop: set[str]) -> str:
    mark = "✓" if column.name in on_laptop else ""
    sort = column.sort.name.lower()
    return f"| `{column.name}` | {sort} | {mark} | {column.default:g} | {column.meaning} |"


def _aggregates(chosen: dict[str, tuple[Family, ...]]) -> str:
    rows = [
        "| Group | Keys | Level | Told by | laptop | twitter | Labels | Features"
        " | Half-lives, metrics |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    sizes = {name: {f.name: len(f.columns) for f in found} for name, found in chosen.items()}
    places: dict[str, Place] = {f.name: f.place for found in chosen.values() for f in found}
    for group in groups_of("twitter"):
        if group.name in places:
            counts = [str(sizes[name].get(group.name, 0)) for name in ("laptop", "twitter")]
            keys = ", ".join(group.keys)
            level = group.level.name.lower()
            cells = [f"`{group.name}`", keys, level, places[group.name].name.lower(), *counts]
            rows.append(f"| {' | '.join([*cells, *_slots(group)])} |")
    return "\n".join(rows)


def _slots(group: AggregateGroup) -> tuple[str, str, str]:
    """What the columns of a group are made of: labels; features; half-lives and metrics."""
    parts = [name.removeprefix(f"{group.name}.pair.") for name in group.column_names]
    rest = [
        part.removeprefix(f"{column.label}.{column.feature}.")
        for column, part in zip(group.columns, parts, strict=True)
    ]
    labels, features = ([getattr(c, name) for c in group.columns] for name in ("label", "feature"))
    listed = [", ".join(dict.fromkeys(words)) for words in (labels, features, rest)]
    return listed[0], listed[1], listed[2]


def _discrete(schemas: dict[str, Schema]) -> str:
    rows = ["| Input | Level | laptop | twitter | Meaning |", "|---|---|---|---|---|"]
    laptop, twitter = schemas["laptop"], schemas["twitter"]
    for small, large in zip(laptop.discrete, twitter.discrete, strict=True):
        assert small.sort == Sort.DISCRETE
        sizes = [f"{given.buckets:,} × {given.dimensions}" for given in (small, large)]
        level = small.level.name.lower()
        rows.append(f"| `{small.name}` | {level} | {' | '.join(sizes)} | {small.meaning} |")
    for less, more in zip(laptop.embeddings, twitter.embeddings, strict=True):
        sizes = [str(vector.dimensions) for vector in (less, more)]
        level = less.level.name.lower()
        rows.append(f"| `{less.name}` | {level} | {' | '.join(sizes)} | {less.meaning} |")
    return "\n".join(rows) + "\n"

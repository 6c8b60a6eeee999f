"""``python -m fedtl.agree``: the sums of several sites' tables become the schema that all share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fedtl.command_line import leave, run_command
from fedtl.errors import UsageError


def main(
    sums: Annotated[list[Path], typer.Argument(metavar="SUMS...", show_default=False)],
    write: Annotated[Path, typer.Option("--write", help="Write the schema there.", metavar="FILE")],
) -> None:
    """Add the sums of several sites' tables to the schema that all of them share.

    SUMS are the files that python -m fedtl.describe --data TABLE --write-schema FILE wrote, one at
    each site. The schema says which columns there are, what counts as 0 and as 1 of numbers, and
    which categories there are. A person can read and edit it; every site then names it:
    --table-schema FILE.
    """
    from functools import reduce
    from operator import add

    from fedtl.data.column_kinds import CATEGORICAL
    from fedtl.data.schema_file import read_sums, refuse_existing, write_schema
    from fedtl.report.terminal import standard_output
    from fedtl.wording import count_of, printable

    if len({path.resolve() for path in sums}) < len(sums):
        raise UsageError("A file is given twice, but the rows of a site count once; give each once")
    refuse_existing(write.expanduser(), "--write")
    each = [read_sums(path) for path in sums]
    total = reduce(add, each)
    schema = total.schema()
    write_schema(write.expanduser(), schema)
    have = {name: sum(name in one.columns for one in each) for name in total.columns}
    few = [f"{name} ({count} of {len(each)})" for name, count in have.items() if count < len(each)]
    if few:
        told = f"not in all files, so that they count as gaps at the other sites: {', '.join(few)}"
        print(f"warning: {printable(told)}", file=sys.stderr)
    kept = {column.name for column in schema.columns}
    same = [name for name in total.columns if name not in kept]
    if same:
        named = printable(", ".join(same))
        print(f"warning: the same in all rows, so that they are left out: {named}", file=sys.stderr)
    kinds = [facts["kind"] for facts in schema.to_mapping().values()]
    categories = kinds.count(CATEGORICAL)
    standard_output().print(
        f"{write}: {len(kinds):,} columns ({len(kinds) - categories:,} of numbers, "
        f"{categories:,} of categories), from {total.rows:,} rows of "
        f"{count_of(len(sums), 'file')}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


if __name__ == "__main__":
    run_command(main)
    leave()

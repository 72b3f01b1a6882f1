"""What a waiting person sees: a spinner with a line of text, a bar for counted work; nothing when quiet or not a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def status(text: str, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner on standard error; yields a function that changes its text."""
    if quiet:
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True).status(text) as spinner:
        yield spinner.update


@contextmanager
def bar(text: str, total: int | None = None, *, quiet: bool) -> Iterator[Callable[..., None]]:
    """A progress bar on standard error; yields a function that takes the number done and, where it was not known before, that of all."""
    if quiet:
        yield lambda done, total=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(text, total=total)
        yield lambda done, total=None: progress.update(task, completed=done, total=total)

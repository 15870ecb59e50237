"""The terminal as commands write to it: a text is shown as it is, and is never an order.

What commands print has names in it that came from datasets, checkpoints, records, cameras and other users. rich takes
`[red]` or `[link=...]` in a text as an order and passes control characters on, so such a name could recolour, overwrite
or reach the clipboard of a terminal. Here styles are given beside a text (`style="bold"`, `Text`), and a character that
steers a terminal is spelled out, wherever it stands: in a line, a cell of a table, a bar. (Two parts of rich read a
text as orders whatever the console says: give `Panel` its title as a `Text`, and `TextColumn` markup=False.)
"""

from collections.abc import Iterable
from typing import IO

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from so101_policy.errors import printable


class Console(rich.console.Console):
    """rich's console, for text from anywhere.

    Args:
        markup: whether `[red]` in a text is an order, for tables that escape what they are given.
        The others are rich's.
    """

    def __init__(
        self,
        *,
        stderr: bool = False,
        markup: bool = False,
        width: int | None = None,
        file: IO[str] | None = None,
        quiet: bool = False,
        record: bool = False,
    ) -> None:
        """With `record` as for a terminal of all colours, to be exported as a picture."""
        super().__init__(
            stderr=stderr,
            markup=markup,
            emoji=False,
            highlight=False,
            width=width,
            file=file,
            quiet=quiet,
            record=record,
            force_terminal=True if record else None,
            color_system="truecolor" if record else "auto",
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """All that is printed passes here, part by part, before it is cut to the width."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

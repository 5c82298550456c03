"""Groups of commands whose help lists them in sections, in the order in which they are used."""

from typing import Any

from typer.core import TyperGroup


class SectionedGroup(TyperGroup):
    """The commands in sections (`rich_help_panel`), those of a section in the order in which they were added."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  the overridden method's
        """Writes the sections."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            rows = sections.setdefault(getattr(command, "rich_help_panel", None) or "Commands", [])
            rows.append((name, command.get_short_help_str(formatter.width)))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)

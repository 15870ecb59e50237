"""What all pages have in common: one look, and a policy that forbids whatever is not inside the page."""

from so101_eval.html.document import STYLE, Section, fill

__all__ = ["STYLE", "Section", "fill"]

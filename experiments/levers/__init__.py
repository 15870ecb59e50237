"""The study of levers: what buys success under shift? Its registration is docs/studies/levers.md."""

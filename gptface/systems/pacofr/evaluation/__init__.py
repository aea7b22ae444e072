"""How PaCo-FR is measured."""

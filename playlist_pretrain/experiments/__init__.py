"""Plans of whole tables: their cells, what runs them, and what they come to."""

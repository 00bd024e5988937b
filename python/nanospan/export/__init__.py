"""Export into what people already run: each format is a module of its own."""

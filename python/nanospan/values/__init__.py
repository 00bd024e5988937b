"""Plain value types shared by all layers of the package, with no imports from upper layers."""

"""Plain value types shared by all layers of the package, free of imports from upper layers."""

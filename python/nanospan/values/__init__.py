"""Plain values that the layers of the package exchange; they import nothing from upper layers."""

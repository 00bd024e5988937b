"""Plain values that cross the layers of the package. They import nothing above them."""

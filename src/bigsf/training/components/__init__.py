"""The families of parts that a training is built from."""

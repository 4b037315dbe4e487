"""Where the packages are; everything else is in pyproject.toml.

`configs/` and `benchmarks/` stand at the top of the repository and are installed inside `vaejax`.
"""

from setuptools import find_packages, setup

inside = {"vaejax.configs": "configs", "vaejax.benchmarks": "benchmarks"}
setup(
    packages=[
        *find_packages(include=["vaejax", "vaejax.*"]),
        *inside,
        *(f"vaejax.benchmarks.{name}" for name in find_packages("benchmarks")),
    ],
    package_dir=inside,
)

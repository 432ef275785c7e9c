"""The type checker that the tests put under every function of the package (see pyproject.toml)."""

from beartype import BeartypeConf, beartype

# Where a float is asked for, an int will do, as PEP 484 says.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))

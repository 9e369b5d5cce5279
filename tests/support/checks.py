"""The type checker that jaxtyping applies to the package under test: beartype, with int accepted where float is written."""

from beartype import BeartypeConf, beartype

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
